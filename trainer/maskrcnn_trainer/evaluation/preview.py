"""Previews of detections for TensorBoard: the first evaluation images with their boxes drawn in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.normalisation import MEAN, STD
from maskrcnn_trainer.evaluation.drawing import Image, draw_objects, objects_of_results

PREVIEW_IMAGES = 10
PREVIEW_MIN_SCORE = 0.1
PREVIEW_MAX_BOXES = 100
PREVIEW_MIN_SIDE = 512


@dataclass(frozen=True)
class Preview:
    """One evaluated image: uint8 RGB [original height, original width, 3] and its COCO results."""

    image: Image
    results: Sequence[Mapping[str, Any]]

    def drawn(self, names: Mapping[int, str]) -> Image:
        """The picture with the detections that a preview shows, enlarged when small."""
        best = sorted(self.results, key=lambda result: -result["score"])[:PREVIEW_MAX_BOXES]
        objects = objects_of_results(best, names, min_score=PREVIEW_MIN_SCORE)
        return draw_objects(self.image, objects, min_side=PREVIEW_MIN_SIDE)


def image_of_canvas(canvas: NDArray[np.floating[Any]], image_info: NDArray[np.floating[Any]]) -> Image:
    """The network's input [H, W, 3], normalised and padded, turned back into an RGB image of the original size."""
    height, width = (round(float(side)) for side in image_info[:2])
    pixels = (np.asarray(canvas, np.float32)[:height, :width] * STD + np.array(MEAN, np.float32)) * 255.0
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    original = (round(float(image_info[4])), round(float(image_info[3])))
    if original != (width, height):
        pixels = cv2.resize(pixels, original, interpolation=cv2.INTER_LINEAR)
    return np.asarray(pixels)
