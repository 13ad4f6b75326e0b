from __future__ import annotations

from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import ErrorType, Evaluation
from maskrcnn_trainer.report.page.errors import errors, errors_of
from maskrcnn_trainer.report.page.layout import Nesting

EVALUATION = sample.evaluation(with_pictures=False)


def drawn(found: Evaluation = EVALUATION) -> str:
    return errors(found, Nesting()).drawn(Nesting())


def test_kind_that_counts_comes_first() -> None:
    titles = [text for path, text in read(drawn()).texts if path.endswith("figure/b")]
    assert [title.split(":")[0] for title in titles] == ["Masks", "Boxes"]
    titles = [text for path, text in read(drawn(replace(EVALUATION, kind="bbox"))).texts if path.endswith("figure/b")]
    assert [title.split(":")[0] for title in titles] == ["Boxes", "Masks"]


def test_each_type_has_its_cost_and_its_number() -> None:
    first = replace(EVALUATION.errors[0], lost={**EVALUATION.errors[0].lost, "Loc": 4.4})
    text = words(drawn(replace(EVALUATION, errors=(first, EVALUATION.errors[1]))))
    assert "Loc: localization9.0614.461" in text
    assert "all false detections18.618.6" in text


def test_types_are_defined() -> None:
    text = words(drawn())
    terms = ("Cls: class confusion", "Loc: localization", "Dupe: duplicate", "Bkg: background", "Miss: missed object")
    assert [term for term in terms if f"{term}a" not in text] == []


def test_class_with_the_highest_cost_is_first() -> None:
    costs: dict[int, dict[ErrorType, float]] = {1: {"Cls": 1.0}, 2: {"Miss": 70.5}, 3: {"Loc": 3.0}}
    found = replace(EVALUATION.errors[0], by_class=costs)
    rows = [
        text for path, text in read(drawn(replace(EVALUATION, errors=(found,)))).texts if path.endswith("th/bdi")
    ]  # fmt: skip
    assert rows[-3:] == ["square", "triangle", "disc"]


def test_analysis_of_one_kind_is_found() -> None:
    assert errors_of(EVALUATION, "segm") == EVALUATION.errors[1]
    assert errors_of(replace(EVALUATION, errors=()), "segm") is None


def test_no_analysis_is_named() -> None:
    assert "No analysis of errors" in words(drawn(replace(EVALUATION, errors=())))
