"""Comparison of detections, and of arrays by their largest difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LEAST_BOX_IOU, MOST_SCORE_DIFFERENCE, LEAST_MASK_IOU = 0.9, 0.01, 0.95


@dataclass(frozen=True)
class Found:
    """Detections of an image.

    Attributes:
        boxes: [n, 4], the same order of coordinates in both.
        classes: [n].
        scores: [n], descending.
        masks: bool [n, H, W].
    """

    boxes: Array
    classes: Array
    scores: Array
    masks: Array


@dataclass(frozen=True)
class Agreement:
    """Agreement of the detections of several images.

    Attributes:
        theirs: number of the original's detections.
        ours: number of this network's.
        fewest: number of the original's in the image with the fewest.
        most: number of the original's in the image with the most.
        matched: pairs of the same class, with similar boxes and scores.
        least_mask_iou: of the pairs.
        similar_masks: pairs whose masks have an IoU of at least 0.95.
    """

    theirs: int
    ours: int
    fewest: int
    most: int
    matched: int
    least_mask_iou: float
    similar_masks: int

    @property
    def share(self) -> float:
        """Pairs with similar masks by detections of the side that has more."""
        return self.similar_masks / max(self.theirs, self.ours, 1)


def relative_difference(ours: Array, theirs: Array) -> float:
    """Return max|difference| / max|theirs|; the shapes must agree."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def box_ious(a: Array, b: Array) -> Array:
    """Return the IoU [n, m] of boxes [n, 4] and [m, 4]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def pairs_of(ours: Found, theirs: Found) -> list[tuple[int, int]]:
    """Return (ours, theirs) of detections that match one to one, the best of theirs first."""
    if not len(ours.scores) or not len(theirs.scores):
        return []
    ious = box_ious(ours.boxes, theirs.boxes)
    fits = (
        (ours.classes[:, None] == theirs.classes[None])
        & (np.abs(ours.scores[:, None] - theirs.scores[None]) <= MOST_SCORE_DIFFERENCE)
        & (ious >= LEAST_BOX_IOU)
    )
    ious = np.where(fits, ious, -1.0)
    pairs = []
    for their in range(len(theirs.scores)):
        our = int(ious[:, their].argmax())
        if ious[our, their] >= 0:
            pairs.append((our, their))
            ious[our] = -1.0
    return pairs


def agreement_of(ours: Sequence[Found], theirs: Sequence[Found]) -> Agreement:
    """Return the agreement over all images."""
    ious = [
        _mask_iou(mine.masks[our], original.masks[their])
        for mine, original in zip(ours, theirs, strict=True)
        for our, their in pairs_of(mine, original)
    ]
    return Agreement(
        theirs=sum(len(one.scores) for one in theirs),
        ours=sum(len(one.scores) for one in ours),
        fewest=min(len(one.scores) for one in theirs),
        most=max(len(one.scores) for one in theirs),
        matched=len(ious),
        least_mask_iou=min(ious, default=0.0),
        similar_masks=sum(iou >= LEAST_MASK_IOU for iou in ious),
    )


def _mask_iou(a: Array, b: Array) -> float:
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0
