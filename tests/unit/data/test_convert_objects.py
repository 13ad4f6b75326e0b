from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_trainer.data.coco import CocoAnnotation, CocoImage
from maskrcnn_trainer.data.convert.objects import area_of, box_fault, convert_object

IMAGE = CocoImage(1, "a.jpg", width=40, height=30)


def rectangle(x: float, y: float, width: float, height: float) -> list[list[float]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def thing(bbox: tuple[float, float, float, float], segmentation: Any) -> CocoAnnotation:
    return CocoAnnotation(5, 1, 2, bbox, 10.0, False, segmentation)


@pytest.mark.parametrize(
    ("bbox", "inside"),
    [
        ((0, 0, 40, 30), True),
        ((39, 29, 1, 1), True),
        ((0, 0, 0.25, 0.25), True),
        ((0, 0, 40.001, 30), False),
        ((0, 0, 40, 30.001), False),
        ((30.5, 0, 10, 30), False),
        ((-0.001, 0, 5, 5), False),
        ((0, -1, 5, 5), False),
        ((5, 5, 0, 5), False),
        ((5, 5, 5, 0), False),
        ((5, 5, -1, 5), False),
    ],
)
def test_boxes_in_the_image_and_out_of_it(bbox: tuple[float, float, float, float], inside: bool) -> None:
    assert (box_fault(bbox, IMAGE) == "") is inside


def test_a_box_out_of_bounds_drops_the_object_before_its_mask_is_looked_at() -> None:
    png, kept, findings = convert_object(thing((-2, 3, 5, 5), [["nonsense"]]), IMAGE, include_mask=True)
    assert (png, kept) == (None, False)
    assert [(one.kind, one.annotation_id, one.dropped) for one in findings] == [("box", 5, True)]
    assert findings[0].reason == "box [-2, 3, 5, 5] (x, y, width, height) reaches out of the 40x30 image"


@pytest.mark.parametrize(
    ("bbox", "segmentation", "reason", "dropped"),
    [
        ((5, 5, 10, 10), rectangle(5, 5, 10, 10), "", False),
        ((5, 5, 1, 1), rectangle(5, 5, 1, 1), "", False),
        ((5, 5, 10, 10), rectangle(5, 5, 13, 10),
         "the mask (pixels [5, 5, 13, 10]) reaches out of the box [5, 5, 10, 10]", False),
        ((5, 5, 10, 10), {"size": [30, 40], "counts": [1200]}, "the mask is empty", False),
        ((5, 5, 10, 10), [*rectangle(5, 5, 10, 10), [1, 1, 2, 2]],
         "polygon 1: 2 points: at least 3 are wanted; left out", False),
        ((5, 5, 10, 10), [[1, 1, 2, 2]], "polygon 0: 2 points: at least 3 are wanted", True),
        ((5, 5, 10, 10), {"size": [30, 40], "counts": [1199]}, "run lengths cover 1199 pixels of 1200", True),
    ],
)  # fmt: skip
def test_masks(bbox: tuple[float, float, float, float], segmentation: Any, reason: str, dropped: bool) -> None:
    png, kept, findings = convert_object(thing(bbox, segmentation), IMAGE, include_mask=True)
    assert kept is not dropped
    assert (png is None) is dropped
    expected = [("mask", 5, reason, dropped)] if reason else []
    assert [(one.kind, one.annotation_id, one.reason, one.dropped) for one in findings] == expected


def test_without_masks_a_segmentation_is_not_looked_at() -> None:
    assert convert_object(thing((5, 5, 10, 10), None), IMAGE, include_mask=False) == (None, True, [])


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
def test_area_is_as_given_else_of_the_mask_else_of_the_box(
    area: float | None, segmentation: Any, expected: float
) -> None:
    assert area_of(CocoAnnotation(5, 1, 2, (5, 5, 10, 10), area, False, segmentation), IMAGE) == expected
