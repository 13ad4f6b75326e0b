from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.conversion.objects import Box, ConvertedObject, Outcome, area_of, box_in_image, convert_object
from maskrcnn_trainer.data.coco import CocoAnnotation, CocoImage

IMAGE = CocoImage(1, "a.jpg", width=40, height=30)


def rectangle(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def thing(bbox: tuple[float, float, float, float], segmentation: Any) -> CocoAnnotation:
    return CocoAnnotation(5, 1, 2, bbox, 10.0, False, segmentation)


@pytest.mark.parametrize(
    ("bbox", "used"),
    [
        ((0, 0, 40, 30), (0, 0, 40, 30)),
        ((39, 29, 1, 1), (39, 29, 1, 1)),
        ((0, 0, 0.25, 0.25), (0, 0, 0.25, 0.25)),
        ((0, 0, 40.001, 30), (0, 0, 40, 30)),
        ((0, 0, 40, 30.999), (0, 0, 40, 30)),
        ((30.5, 0, 10, 30), (30.5, 0, 9.5, 30)),
        ((-0.5, 0, 5, 5), (0, 0, 4.5, 5)),
        ((-0.5, -0.5, 41, 31), (0, 0, 40, 30)),
        ((0, -1, 5, 5), None),
        ((0, 0, 41, 30), None),
        ((40.1, 0, 0.5, 5), None),
        ((-0.5, 0, 0.5, 5), None),
        ((5, 5, 0, 5), None),
        ((5, 5, 5, 0), None),
        ((5, 5, -1, 5), None),
    ],
)
def test_box_is_used_clipped_or_left_out(bbox: Box, used: Box | None) -> None:
    box, cause, reason = box_in_image(bbox, IMAGE)
    assert box == used
    assert (cause is None) == (reason == "") == (box == bbox)


def test_box_outside_of_the_image_drops_the_object_without_reading_its_mask() -> None:
    converted = convert_object(thing((-2, 3, 5, 5), [["nonsense"]]), IMAGE, include_mask=True)
    assert (converted.mask, converted.annotation) == (None, None)
    (finding,) = converted.outcome.findings
    assert (finding.kind, finding.annotation_id, finding.dropped) == ("box", 5, True)
    assert finding.reason == "box [-2, 3, 5, 5] (x, y, width, height) extends beyond the 40x30 image by 2 pixels"


def test_box_clipped_to_the_image_keeps_its_object_and_is_reported() -> None:
    converted = convert_object(thing((33.3, 3, 6.7000001, 5), rectangle(33.3, 3, 6.7, 5)), IMAGE, include_mask=True)
    assert converted.annotation is not None
    assert converted.annotation.bbox == (33.3, 3, 40 - 33.3, 5)
    assert converted.mask is not None
    (finding,) = converted.outcome.findings
    assert (finding.kind, finding.dropped) == ("box", False)
    assert finding.reason.endswith("extends beyond the 40x30 image by 1e-07 pixels and is clipped")


@pytest.mark.parametrize(
    ("bbox", "overlap", "corner_overlap"),
    [((5, 5, 10, 20), 1.0, 75 / 200), ((5, 5, 15, 25), 200 / 375, 1.0), ((5, 5, 20, 20), 0.5, 150 / 275)],
)
def test_overlap_of_box_and_mask(bbox: Box, overlap: float, corner_overlap: float) -> None:
    outcome = convert_object(thing(bbox, rectangle(5, 5, 10, 20)), IMAGE, include_mask=True).outcome
    assert outcome.overlap == pytest.approx(overlap)
    assert outcome.corner_overlap == pytest.approx(corner_overlap)


@pytest.mark.parametrize(
    ("bbox", "segmentation", "reason", "dropped"),
    [
        ((5, 5, 10, 10), rectangle(5, 5, 10, 10), "", False),
        ((5, 5, 1, 1), rectangle(5, 5, 1, 1), "", False),
        ((5, 5, 10, 10), rectangle(5, 5, 13, 10),
         "the mask (pixels [5, 5, 13, 10]) extends beyond the box [5, 5, 10, 10]", False),
        ((5, 5, 10, 10), {"size": [30, 40], "counts": [1200]}, "the mask is empty", False),
        ((5, 5, 10, 10), [*rectangle(5, 5, 10, 10), [1, 1, 2, 2]],
         "polygon 1: 2 points; expected at least 3; left out", False),
        ((5, 5, 10, 10), [[1, 1, 2, 2]], "polygon 0: 2 points; expected at least 3", True),
        ((5, 5, 10, 10), {"size": [30, 40], "counts": [1199]}, "run lengths cover 1199 pixels of 1200", True),
    ],
)  # fmt: skip
def test_masks(bbox: tuple[float, float, float, float], segmentation: Any, reason: str, dropped: bool) -> None:
    converted = convert_object(thing(bbox, segmentation), IMAGE, include_mask=True)
    assert (converted.annotation is None) is dropped
    assert (converted.mask is None) is dropped
    expected = [("mask", 5, reason, dropped)] if reason else []
    assert [(one.kind, one.annotation_id, one.reason, one.dropped) for one in converted.outcome.findings] == expected


def test_segmentation_is_not_read_without_masks() -> None:
    annotation = thing((5, 5, 10, 10), None)
    assert convert_object(annotation, IMAGE, include_mask=False) == ConvertedObject(annotation, None, Outcome())


@pytest.mark.parametrize(
    ("area", "segmentation", "expected"),
    [
        (10.0, rectangle(5, 5, 10, 10), 10.0),
        (None, rectangle(5, 5, 10, 5), 50.0),
        (None, {"size": [30, 40], "counts": [0, 30, 1170]}, 30.0),
        (None, None, 100.0),
        (None, [[1, 2]], 100.0),
    ],
)
def test_area_is_the_annotated_one_else_that_of_the_mask_else_of_the_box(
    area: float | None, segmentation: Any, expected: float
) -> None:
    assert area_of(CocoAnnotation(5, 1, 2, (5, 5, 10, 10), area, False, segmentation), IMAGE) == expected
