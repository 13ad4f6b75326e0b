from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import PageReader, read, words

from maskrcnn_trainer.report.content import Report
from maskrcnn_trainer.report.page.numbers import count, fraction, measured, percent, points
from maskrcnn_trainer.report.page.page import page

HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(1)><a href=javascript:alert(1)>&amp;"
    "\x00\x1b\n\u202e\ud800]]>--></style></svg>"
)
KEPT_FIELDS = frozenset({"picture", "role"})

CONTENTS: Mapping[str, Report] = {
    "everything": sample.report(),
    "no pictures": sample.report(sample.experiment(with_pictures=False)),
    "80 classes": sample.report(sample.experiment(sample.many_names(80), with_pictures=False)),
    "one class": sample.report(sample.experiment(("nucleus",))),
    "nothing detected": sample.report(sample.nothing_detected()),
    "nothing recorded": sample.report(sample.bare_experiment()),
    "several": sample.report(sample.experiment(), sample.experiment(name="b", seed=2), sample.bare_experiment()),
}


@cache
def drawn(name: str, *, attacked: bool = False) -> str:
    """Return the page of one of CONTENTS, with HOSTILE texts if ``attacked``."""
    return page(hostile(CONTENTS[name]) if attacked else CONTENTS[name])


@cache
def read_page(name: str, *, attacked: bool = False) -> PageReader:
    """Return what is in a page of ``drawn``."""
    return read(drawn(name, attacked=attacked))


def hostile(value: Any, name: str = "") -> Any:
    """Return content in which every text from outside is HOSTILE."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: hostile(getattr(value, field.name), field.name) for field in dataclasses.fields(value)}
        if type(value).__name__ in ("Evaluation", "Errors"):
            fields["kind"] = value.kind  # type: ignore[attr-defined]
        return dataclasses.replace(value, **fields)
    if isinstance(value, str):
        return value if name in KEPT_FIELDS else HOSTILE
    if isinstance(value, tuple):
        return tuple(hostile(part, name) for part in value)
    if isinstance(value, dict):
        changed = {key: hostile(part) for key, part in value.items()}
        return (
            {HOSTILE: HOSTILE} if name == "facts" and value else changed | ({HOSTILE: 0.5} if name == "metrics" else {})
        )
    return value


def numbers_of(content: Any) -> Iterator[float]:
    """Yield every number of a report.json, and those in its texts."""
    if isinstance(content, dict):
        for name, part in content.items():
            yield from numbers_of(name)
            yield from numbers_of(part)
    elif isinstance(content, list):
        for part in content:
            yield from numbers_of(part)
    elif isinstance(content, str):
        yield from (float(found) for found in re.findall(r"\d+(?:\.\d+)?", content))
    elif isinstance(content, int | float):
        yield content


def shown_numbers(reader: PageReader) -> Iterator[tuple[str, str]]:
    """Yield each number in a table, a tile, or a sentence on findings, with the text around it."""
    for path, text in reader.texts:
        if re.search(r"/(td|dd)(/|$)|/[ou]l/li(/b)?$|/figcaption", path) and not re.search("/(svg|nav|code)", path):
            for found in re.findall(r"(?<![\w.,:-])\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?%?(?![\w%])", text):
                yield found.rstrip(","), text


@pytest.mark.parametrize("name", CONTENTS)
def test_page_loads_nothing_and_its_links_and_elements_are_right(name: str) -> None:
    assert read_page(name).problems == []


@pytest.mark.parametrize("name", CONTENTS)
def test_hostile_texts_change_no_element(name: str) -> None:
    usual, attacked = read_page(name), read_page(name, attacked=True)
    assert attacked.problems == []
    assert set(attacked.tags) <= set(usual.tags)
    assert set(attacked.attributes) <= set(usual.attributes)


def test_hostile_name_is_shown_as_it_is() -> None:
    text = words(drawn("everything", attacked=True))
    assert "\"'><script>alert(1)</script><img src=x onerror=alert(1)>" in text
    assert "\\x00\\x1b\\n\\u202e\\ud800" in text


def test_picture_that_is_no_picture_is_left_out() -> None:
    content = sample.experiment()
    assert content.evaluation is not None
    for address in (
        "javascript:alert(1)",
        "https://example.org/a.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        'data:image/png;base64,"onload=',
    ):
        image = dataclasses.replace(content.evaluation.worst[0], picture=address)
        changed = dataclasses.replace(content, evaluation=dataclasses.replace(content.evaluation, worst=(image,)))
        reader = read(page(sample.report(changed)))
        assert reader.problems == []
        assert reader.tags["img"] == 36


@pytest.mark.parametrize("name", CONTENTS)
def test_page_can_be_written_and_is_far_below_8_megabytes_without_pictures(name: str) -> None:
    assert len(drawn(name, attacked=True).encode()) < 4 << 20
    assert len(drawn(name).encode()) < 1.5 * (1 << 20)


@pytest.mark.parametrize("name", CONTENTS)
def test_every_number_is_in_report_json(name: str) -> None:
    content = CONTENTS[name]
    known = {"100", "0.5", "0.50", "0.95", "0.1", "0.01", "96", "32", "1"}  # of definitions
    for number in set(numbers_of(content.to_json())):
        known |= {fraction(number), points(number), percent(number), measured(number), f"{number:.2f}", f"{number:g}"}
        if number == int(number):
            known |= {count(int(number)), str(int(number))}
    shown = list(shown_numbers(read_page(name)))
    assert [(number, text) for number, text in shown if number not in known] == []
    assert len(shown) > 100 or name == "nothing recorded"


def test_number_that_is_not_in_report_json_is_found() -> None:
    reader = read("<table><tr><td>0.123</td></tr></table><p><ul><li>has 17.5 points</li></ul></p>")
    assert [number for number, _ in shown_numbers(reader)] == ["0.123", "17.5"]


@pytest.mark.parametrize(
    "statement",
    [
        "each takes the unmatched object with the highest mask IoU of at least 0.5, whatever its class",
        "picked on this very set",
        "“Overall” pools the counts over the classes",
        "By TIDE's definitions (Bolya et al., arXiv:2008.08115)",
        "at most 100 detections per image count, crowds are ignored",
        "lies on a crowd of its class counts nowhere",
        "TIDE itself has no such table",
        "Of each class in each image the 100 best detections count",
        "without crowds",
        "Chosen with a fixed seed",
        "it is 1 without objects and detections",
    ],
)
def test_page_states_how_it_was_counted(statement: str) -> None:
    assert statement in words(drawn("everything"))


@pytest.mark.parametrize(
    "title",
    ["Summary", "Errors and what they cost", "Confusion matrix", "Metrics", "Precision and recall", "Best score",
     "Reliability of scores", "Images", "Training curves", "What was trained on what", "Models side by side"],
)  # fmt: skip
def test_page_has_each_section_and_a_link_to_it(title: str) -> None:
    reader = read_page("everything")
    assert [path for path, text in reader.texts if text == title and path.endswith("/h2")]
    assert [path for path, text in reader.texts if text == title and path.endswith("nav/ul/li/a")]


def test_sections_of_several_experiments_have_ids_of_their_own() -> None:
    reader = read_page("several")
    assert {"side-by-side", "e1-summary", "e2-summary", "e3-experiment"} <= set(reader.ids)


def test_page_without_anything_recorded_states_so() -> None:
    text = words(drawn("nothing recorded"))
    assert "No evaluation can be read" in text
    assert "train/history.jsonl isn't there." in text
    assert text.count("not recorded") >= 4


def test_page_has_a_policy_that_denies_scripts_and_requests() -> None:
    assert "default-src &#x27;none&#x27;; img-src data:" in drawn("everything")
