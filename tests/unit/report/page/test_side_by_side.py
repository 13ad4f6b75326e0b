from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import Curve, Experiment
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.side_by_side import side_by_side

FIRST, SECOND = (
    sample.experiment(name="first", with_pictures=False),
    sample.experiment(name="second", seed=2, with_pictures=False),
)


def drawn(*experiments: Experiment, comparable: bool | None = True) -> str:
    places = [Nesting(f"e{number}-", 3) for number in range(1, len(experiments) + 1)]
    return side_by_side(sample.report(*experiments, comparable=comparable), places).drawn(Nesting())


@pytest.mark.parametrize(
    ("comparable", "stated"),
    [
        (True, "evaluated on the same validation set"),
        (False, "not comparable"),
        (None, "not recorded. Compare metrics with care"),
    ],
)
def test_use_of_the_same_set_is_stated(comparable: bool | None, stated: str) -> None:
    assert stated in words(drawn(FIRST, SECOND, comparable=comparable))


def test_experiments_have_a_row_with_a_link_and_a_line_in_each_chart() -> None:
    reader = read(drawn(FIRST, SECOND))
    assert {"#e1-summary", "#e2-summary"} <= set(reader.links)
    legends = [text for path, text in reader.texts if path.endswith("figure/ul/li/bdi")]
    assert legends == ["first", "second"] * 4


def test_differing_fields_have_a_value_for_each_experiment() -> None:
    text = words(drawn(FIRST, SECOND))
    assert "fieldfirstsecond" in text
    assert "maskrcnnConfig.nlayers1850" in text


def test_largest_error_of_each_experiment_is_named() -> None:
    assert words(drawn(FIRST, SECOND)).count("class confusion21.3") == 2


def test_box_ap_of_checkpoints_is_compared_where_an_experiment_has_no_masks() -> None:
    assert SECOND.evaluation is not None
    boxes = replace(SECOND, evaluation=replace(SECOND.evaluation, kind="bbox"))
    assert "Box AP of the checkpoints" in words(drawn(FIRST, boxes))
    assert "Mask AP of the checkpoints" in words(drawn(FIRST, SECOND))


def test_experiment_without_evaluation_is_not_recorded() -> None:
    reader = read(drawn(FIRST, sample.bare_experiment()))
    assert sum(text == "not recorded" for _, text in reader.texts) == 9
    assert reader.problems == ["dead link #e1-summary", "dead link #e2-summary"]


def test_curves_that_no_experiment_has_are_named() -> None:
    text = words(drawn(sample.bare_experiment("a"), sample.bare_experiment("b")))
    assert (
        "Total loss; Mask AP of the checkpoints; Precision over recall at IoU 0.5; F1 over the score: not recorded"
        in text
    )


def test_ap_of_few_checkpoints_is_a_table_with_a_column_for_each_experiment() -> None:
    few = (Curve("mask AP", (100.0,), (0.125,)),)
    short = [
        replace(one, trainings=tuple(replace(t, evaluations=few) for t in one.trainings)) for one in (FIRST, SECOND)
    ]
    assert "training stepfirstsecond1000.1250.125" in words(drawn(*short))


def test_single_line_is_named_because_the_chart_is_about_several_experiments() -> None:
    made = drawn(FIRST, sample.bare_experiment())
    assert [text for path, text in read(made).texts if path.endswith("figure/ul/li/bdi")] == ["first"] * 4
