"""Previews of detections for TensorBoard: the first evaluation images with their detections drawn in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.padded_image import MEAN, STD
from maskrcnn_trainer.evaluation.coco_results import original_size
from maskrcnn_trainer.evaluation.drawing import DrawnObject, Image, draw_objects, objects_of_results
from maskrcnn_trainer.evaluation.paste import PastedMask

PREVIEW_IMAGES = 10
PREVIEW_MIN_SCORE = 0.1
PREVIEW_MAX_BOXES = 100


@dataclass(frozen=True)
class Preview:
    """One evaluated image.

    Attributes:
        image: uint8 RGB, see :func:`image_of_padded`.
        results: COCO results of the image, in pixels of the original image.
        original: height and width of the original image.
    """

    image: Image
    results: Sequence[Mapping[str, Any]]
    original: tuple[int, int]

    def drawn(self, names: Mapping[int, str]) -> Image:
        """Return ``image`` with the detections that a preview shows."""
        best = sorted(self.results, key=lambda result: -result["score"])[:PREVIEW_MAX_BOXES]
        objects = objects_of_results(best, names, min_score=PREVIEW_MIN_SCORE)
        return draw_objects(self.image, [self._scaled(item) for item in objects])

    def _scaled(self, item: DrawnObject) -> DrawnObject:
        height, width = self.image.shape[:2]
        if (height, width) == self.original:
            return item
        rows, columns = height / self.original[0], width / self.original[1]
        y1, x1, y2, x2 = item.box
        box = (y1 * rows, x1 * columns, y2 * rows, x2 * columns)
        if not isinstance(item.mask, Mapping):
            return dataclasses.replace(item, box=box)
        whole = cv2.resize(coco_mask.decode(dict(item.mask)), (width, height), interpolation=cv2.INTER_NEAREST)
        top, left = math.floor(box[0]), math.floor(box[1])  # a mask lies in its box; 100 whole masks would take 100 MB
        region = whole[top : math.ceil(box[2]) + 1, left : math.ceil(box[3]) + 1].astype(bool)
        return dataclasses.replace(item, box=box, mask=PastedMask(region.T, top, left))


def image_of_padded(padded: NDArray[np.floating[Any]], image_info: NDArray[np.floating[Any]]) -> Image:
    """Return the RGB image of a padded image [H, W, 3], the network's normalized input.

    It has the size of the network's input without the padding, or that of the original image if that is smaller:
    an enlarged image shows no more detail, and ten pictures are stored at each evaluation.
    """
    height, width = (round(float(side)) for side in image_info[:2])
    pixels = (np.asarray(padded, np.float32)[:height, :width] * STD + np.array(MEAN, np.float32)) * 255.0
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    original = original_size(image_info)
    if math.prod(original) < height * width:
        pixels = cv2.resize(pixels, original[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(pixels)
