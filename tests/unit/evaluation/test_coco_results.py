"""Detections of the canvas as COCO results of the original image."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_results import (
    boxes_of_canvas,
    clip_to_image,
    image_results,
    json_image_ids,
    known_image_id,
)

INFO = np.array([50, 100, 2.0, 100, 200], np.float32)  # a 100x200 image, halved


class RawIds:
    def to_raw(self, model_id: int) -> int:
        return {1: 18, 2: 90}[model_id]


def test_boxes_are_scaled_and_clipped_to_the_image() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 40.0], [-5.0, -1.0, 64.0, 128.0]])
    np.testing.assert_allclose(clip_to_image(boxes_of_canvas(boxes, INFO), INFO), [[20, 40, 60, 80], [0, 0, 100, 200]])


def test_each_axis_has_the_ratio_of_its_own_resize() -> None:
    # 101 rows at a scale of 0.5 are 50 rows (truncated): the whole height is the whole height again.
    info = np.array([50, 100, 2.0, 101, 200], np.float32)
    np.testing.assert_allclose(boxes_of_canvas(np.array([[0.0, 0.0, 50.0, 100.0]]), info), [[0, 0, 101, 200]])


def test_results_of_an_image() -> None:
    logits = np.full((4, 28, 28), 20.0)
    results = image_results(
        np.array([[0.0, 0.0, 0.0, 0.0], [5.0, 5.0, 15.0, 10.0], [0.0, 0.0, 64.0, 128.0], [0.0, 0.0, 0.0, 0.0]]),
        np.array([0, 2, 1, 0], np.int32),
        np.array([0.0, 0.25, 0.75, 0.0], np.float32),
        logits,
        image_info=INFO,
        image_id=7,
        class_map=RawIds(),
    )
    assert [{key: result[key] for key in ("image_id", "category_id", "bbox", "score")} for result in results] == [
        {"image_id": 7, "category_id": 18, "bbox": [0.0, 0.0, 200.0, 100.0], "score": 0.75},
        {"image_id": 7, "category_id": 90, "bbox": [10.0, 10.0, 10.0, 20.0], "score": 0.25},
    ]
    assert [coco_mask.area(result["segmentation"]) for result in results] == [
        19996,  # zero outside the grid rounds a corner off: four pixels of the one that lies in the image
        200,
    ]
    assert results[1]["segmentation"]["size"] == [100, 200]


def test_boxes_alone() -> None:
    results = image_results(
        np.array([[5.0, 5.0, 15.0, 10.0]]), np.array([1]), np.array([0.5]), None,
        image_info=INFO, image_id="a", class_map=RawIds(), min_score=0.4,
    )  # fmt: skip
    assert results == [{"image_id": "a", "category_id": 18, "bbox": [10.0, 10.0, 10.0, 20.0], "score": 0.5}]


def test_source_ids_become_the_files_own_ids() -> None:
    known = json_image_ids([42, "scan-7"])
    assert known_image_id(b"42", known) == 42
    assert isinstance(known_image_id(b"42", known), int)
    assert known_image_id("scan-7", known) == "scan-7"
    with pytest.raises(InvalidInput, match="no image with id '43'"):
        known_image_id(b"43", known)
