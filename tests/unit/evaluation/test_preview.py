"""Previews of validation images: their size, and which detections are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.drawing import class_color
from maskrcnn_trainer.evaluation.preview import Preview, image_of_padded

GRAY = 60


def rle(size: tuple[int, int], rows: slice, columns: slice) -> dict[str, Any]:
    mask = np.zeros(size, np.uint8, order="F")
    mask[rows, columns] = 1
    encoded: dict[str, Any] = coco_mask.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def test_preview_frames_confident_objects_only() -> None:
    results = [
        {"category_id": 4, "bbox": [10, 10, 20, 20], "score": 0.8},
        {"category_id": 4, "bbox": [60, 40, 20, 20], "score": 0.05},
    ]
    image = np.full((64, 96, 3), GRAY, np.uint8)
    pixels = Preview(image, results, (64, 96)).drawn({4: "four"})
    assert (pixels.shape, pixels.dtype) == ((64, 96, 3), np.uint8)
    assert (pixels[10:30, 10] != GRAY).any(axis=-1).all(), "the object of score 0.8 is framed"
    assert (pixels[40:60, 60:] == GRAY).all(), "the one of 0.05 is not"
    assert (image == GRAY).all()


def test_preview_of_a_larger_original_has_the_size_of_the_input() -> None:
    mask = rle((480, 640), slice(100, 300), slice(200, 520))
    result = {"category_id": 4, "bbox": [200, 100, 320, 200], "score": 0.8, "segmentation": mask}
    image = np.full((120, 160, 3), GRAY, np.uint8)
    pixels = Preview(image, [result], (480, 640)).drawn({4: "four"})
    assert pixels.shape == image.shape
    np.testing.assert_array_equal(pixels[74, 50:130], np.tile(class_color(4), (80, 1)))  # the lower side of its frame
    np.testing.assert_allclose(pixels[60, 90], GRAY * 0.55 + np.array(class_color(4)) * 0.45, atol=1)
    assert (pixels[80:, :] == GRAY).all()


@pytest.mark.parametrize(
    ("original", "scaled", "expected"),
    [((480, 640), (120, 160), (120, 160)), ((32, 40), (128, 160), (32, 40)), ((128, 160), (128, 160), (128, 160))],
)
def test_image_of_padded_is_never_larger_than_input_or_original(
    original: tuple[int, int], scaled: tuple[int, int], expected: tuple[int, int]
) -> None:
    info = np.array([*scaled, original[0] / scaled[0], *original], np.float32)
    assert image_of_padded(np.zeros((160, 160, 3), np.float32), info).shape == (*expected, 3)
