"""The page that explains reports: it has the parts of a report in their order, its limits, and its members."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from tests.report.pictures import LARGEST_PICTURE, PICTURES
from tests.unit.report.page import sample

from maskrcnn_trainer.report import content
from maskrcnn_trainer.report.inputs.detections import LARGEST_DETECTIONS
from maskrcnn_trainer.report.inputs.experiment_directory import MOST_ENTRIES, MOST_STEPS
from maskrcnn_trainer.report.inputs.validation import LARGEST_ANNOTATIONS
from maskrcnn_trainer.report.making import LARGEST_REPORT
from maskrcnn_trainer.report.page.class_lines import LARGEST_WITH_ALL, LARGEST_WITH_THIN
from maskrcnn_trainer.report.page.confusion import MOST_DRAWN
from maskrcnn_trainer.report.page.errors import TYPES
from maskrcnn_trainer.report.page.layout import LONGEST_TABLE, Nesting
from maskrcnn_trainer.report.page.page import sections
from maskrcnn_trainer.report.pictures import LARGEST_IMAGE

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "how-to" / "report.md").read_text(encoding="utf-8")
IMAGES = ROOT / "docs" / "images"
GIB = 1 << 30


def test_sections_of_a_report_are_explained_in_their_order() -> None:
    titles = [section.title for section in sections(sample.experiment(with_pictures=False), Nesting())]
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert [heading for heading in headings if heading in titles] == titles
    assert "Several experiments side by side" in headings


def test_each_type_of_error_is_explained() -> None:
    assert re.findall(r"^\| (\w+) \| .* \| .* \|$", PAGE.partition("## Errors")[2].partition("## ")[0], re.MULTILINE)[
        1:
    ] == list(TYPES)


def test_limits_are_those_of_the_code() -> None:
    limits = PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0]
    assert f"| the page | {LARGEST_REPORT // 1_000_000} MB;" in limits
    assert f"| {MOST_ENTRIES:,}, and {MOST_STEPS} steps |" in limits
    assert {LARGEST_DETECTIONS, LARGEST_ANNOTATIONS} == {GIB}
    assert "| detections.json, annotation file | 1 GiB each |" in limits
    assert MOST_DRAWN == LARGEST_WITH_THIN
    assert f"| {MOST_DRAWN}; with more than seven, seven have a color |" in limits
    assert LARGEST_WITH_ALL == 7
    assert f"| {LARGEST_IMAGE // 1_000_000} million |" in limits
    assert f"With more than {LONGEST_TABLE} classes those with the lowest AP50" in " ".join(PAGE.split())


@pytest.mark.parametrize("part", [value for value in vars(content).values() if dataclasses.is_dataclass(value)])
def test_members_of_the_numbers_are_listed(part: type) -> None:
    members = PAGE.partition("\n## report.json\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"[a-z][a-z0-9_]+|\b[xy]\b", " ".join(re.findall(r"`([^`]+)`", members))))
    assert {field.name for field in dataclasses.fields(part)} - {"picture"} <= named


def test_pictures_are_shown_and_small_and_can_be_made_again() -> None:
    made = {f"{picture.name}.webp" for picture in PICTURES}
    assert {file.name for file in IMAGES.glob("report-*")} == made
    assert set(re.findall(r"\]\(\.\./images/(report-[\w-]+\.webp)\)", PAGE)) == made
    assert max((IMAGES / name).stat().st_size for name in made) <= LARGEST_PICTURE
