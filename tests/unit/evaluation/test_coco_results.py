"""Conversion of detections in the padded image to COCO results of the original image."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn_trainer.detector import Detections
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_results import (
    clip_to_image,
    image_results,
    json_image_ids,
    known_image_id,
    to_original_pixels,
)

INFO = np.array([50, 100, 2.0, 100, 200], np.float32)  # a 100x200 image, halved


class RawIds:
    def to_raw(self, model_id: int) -> int:
        return {1: 18, 2: 90}[model_id]


def test_boxes_are_scaled_and_clipped_to_the_image() -> None:
    boxes = np.array([[10.0, 20.0, 30.0, 40.0], [-5.0, -1.0, 64.0, 128.0]])
    np.testing.assert_allclose(
        clip_to_image(to_original_pixels(boxes, INFO), INFO), [[20, 40, 60, 80], [0, 0, 100, 200]]
    )


def test_each_axis_has_the_ratio_of_its_own_resize() -> None:
    # 101 rows at a scale of 0.5 are 50 rows (truncated), and the full height maps back to the full height.
    info = np.array([50, 100, 2.0, 101, 200], np.float32)
    np.testing.assert_allclose(to_original_pixels(np.array([[0.0, 0.0, 50.0, 100.0]]), info), [[0, 0, 101, 200]])


def detections(boxes: list[list[float]], classes: list[int], scores: list[float]) -> Detections:
    masks = np.full((len(boxes), 28, 28), 20.0, np.float32)
    return Detections(np.array(boxes, np.float32), np.array(classes, np.int32), np.array(scores, np.float32), masks)


def test_results_of_an_image() -> None:
    results = image_results(
        detections([[5.0, 5.0, 15.0, 10.0], [0.0, 0.0, 64.0, 128.0]], [2, 1], [0.25, 0.75]),
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


def test_boxes_alone_over_the_least_score() -> None:
    results = image_results(
        detections([[5.0, 5.0, 15.0, 10.0], [5.0, 5.0, 15.0, 10.0]], [1, 1], [0.5, 0.4]),
        image_info=INFO,
        image_id="a",
        class_map=RawIds(),
        min_score=float(np.float32(0.4)),
        include_mask=False,
    )
    assert results == [{"image_id": "a", "category_id": 18, "bbox": [10.0, 10.0, 10.0, 20.0], "score": 0.5}]


def test_source_ids_become_the_files_own_ids() -> None:
    known = json_image_ids([42, "scan-7"])
    assert known_image_id(b"42", known) == 42
    assert isinstance(known_image_id(b"42", known), int)
    assert known_image_id("scan-7", known) == "scan-7"
    with pytest.raises(InvalidInput, match="no image with id '43'"):
        known_image_id(b"43", known)
