"""A picture of ground truth beside detections."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from maskrcnn_trainer.evaluation.drawing import FONT, DrawnObject, Image, draw_objects

GAP = 8
BACKGROUND = 255


def comparison_picture(
    rows: Sequence[tuple[Image, Sequence[DrawnObject], Sequence[DrawnObject]]],
    *,
    min_side: int = 384,
    pairs_per_row: int = 2,
    titles: tuple[str, str] = ("ground truth", "detections"),
) -> Image:
    """One picture of several images, each with its ground truth at the left and its detections at the right.

    Args:
        rows: (image uint8 RGB [H, W, 3], ground truth, detections) of each image.
        min_side: images are enlarged to at least this many pixels.

    Returns:
        uint8 RGB.
    """
    if not rows:
        raise ValueError("a comparison needs at least one image")
    pairs = []
    for image, truth, detections in rows:
        sides = [_titled(draw_objects(image, side, min_side=min_side), title)
                 for side, title in zip((truth, detections), titles, strict=True)]  # fmt: skip
        pairs.append(_beside(sides, GAP // 2))
    lines = [_beside(pairs[start : start + pairs_per_row], 2 * GAP) for start in range(0, len(pairs), pairs_per_row)]
    width = max(line.shape[1] for line in lines)
    padded = [
        np.pad(line, ((0, GAP), (0, width - line.shape[1]), (0, 0)), constant_values=BACKGROUND) for line in lines
    ]
    return np.concatenate(padded)


def _titled(image: Image, title: str) -> Image:
    band = np.full((24, image.shape[1], 3), BACKGROUND, np.uint8)
    cv2.putText(band, title, (2, 17), FONT, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, image])


def _beside(images: Sequence[Image], gap: int) -> Image:
    height = max(image.shape[0] for image in images)
    padded = [
        np.pad(
            image,
            ((0, height - image.shape[0]), (0, gap if index < len(images) - 1 else 0), (0, 0)),
            constant_values=BACKGROUND,
        )
        for index, image in enumerate(images)
    ]
    return np.concatenate(padded, axis=1)
