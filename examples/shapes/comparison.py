"""Picture that compares ground truth with detections."""

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
    """Return a picture of several images, each with its ground truth on the left and its detections on the right.

    Args:
        rows: (image uint8 RGB [H, W, 3], ground truth, detections) of each image.
        min_side: minimum of the shorter side in pixels; smaller images are enlarged.
        pairs_per_row: number of images in a row of the picture.
        titles: headings above the left and the right side.

    Returns:
        uint8 RGB.
    """
    if not rows:
        raise ValueError("a comparison needs at least one image")
    pairs = []
    for image, truth, detections in rows:
        sides = [_titled(draw_objects(image, side, min_side=min_side), title)
                 for side, title in zip((truth, detections), titles, strict=True)]  # fmt: skip
        pairs.append(_side_by_side(sides, GAP // 2))
    starts = range(0, len(pairs), pairs_per_row)
    lines = [_side_by_side(pairs[start : start + pairs_per_row], 2 * GAP) for start in starts]
    width = max(line.shape[1] for line in lines)
    padded = [
        np.pad(line, ((0, GAP), (0, width - line.shape[1]), (0, 0)), constant_values=BACKGROUND) for line in lines
    ]
    return np.concatenate(padded)


def _titled(image: Image, title: str) -> Image:
    band = np.full((24, image.shape[1], 3), BACKGROUND, np.uint8)
    cv2.putText(band, title, (2, 17), FONT, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, image])


def _side_by_side(images: Sequence[Image], gap: int) -> Image:
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
