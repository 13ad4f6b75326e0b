"""Precision and recall of matches, as ``COCOeval.accumulate`` computes them.

This is a vectorized version: pycocotools loops in Python over all detections for each of 10 IoU thresholds, 4 area
ranges, and 3 limits, and all other ranks wait for the first one meanwhile. The results are bit-identical
(https://github.com/cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.evaluation.coco_matching import AREAS, IOU_THRESHOLDS, RECALLS, DetectionMatches, unpacked


@dataclass(frozen=True)
class Curves:
    """Precision at each recall, and the largest recall; -1 where no object counts.

    Attributes:
        precision: float64 [IoU thresholds, recalls, categories, areas, limits].
        recall: float64 [IoU thresholds, categories, areas, limits].
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def accumulate(matches: DetectionMatches, kind: int, kinds: int, categories: int, limits: Sequence[int]) -> Curves:
    """Return the curves of all categories.

    Args:
        matches: matches of all images, sorted by image.
        kind: index of the comparison (box, mask) among ``kinds``.
        kinds: number of comparisons in ``matches``.
        categories: number of categories.
        limits: maximum detections per category and image that count; one set of curves for each.
    """
    shape = (categories, len(AREAS), len(limits))
    precision = -np.ones((len(IOU_THRESHOLDS), len(RECALLS), *shape))
    recall = -np.ones((len(IOU_THRESHOLDS), *shape))
    starts = np.cumsum(matches.detections, dtype=np.int64) - matches.detections
    positions = np.arange(len(matches.scores)) - np.repeat(starts, matches.detections)
    row_categories = np.repeat(matches.categories, matches.detections)
    for category in np.unique(matches.categories):
        objects = matches.objects[matches.categories == category, kind].sum(axis=0)
        rows = np.flatnonzero(row_categories == category)
        rows = rows[np.argsort(-matches.scores[rows], kind="mergesort")]
        hits = unpacked(matches.hits[rows], kinds)[:, kind]  # [N, A, T]
        false_alarms = unpacked(matches.false_alarms[rows], kinds)[:, kind]
        for m, limit in enumerate(limits):
            within = positions[rows] < limit
            for area in np.flatnonzero(objects):
                curve, reached = precision_at_recalls(
                    hits[within, area].T, false_alarms[within, area].T, int(objects[area])
                )
                precision[:, :, category, area, m] = curve
                recall[:, category, area, m] = reached
    return Curves(precision, recall)


def precision_at_recalls(
    hits: NDArray[np.bool_],
    false_alarms: NDArray[np.bool_],
    objects: int,
    recalls: NDArray[np.float64] = RECALLS,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision [T, R] and the largest recall [T] of the detections of one class, best first.

    Args:
        hits: [T, N], set if the detection matches an object that counts, for each of T IoU thresholds.
        false_alarms: [T, N], set if the detection counts and matches no object.
        objects: number of objects that count, at least 1.
        recalls: [R], ascending.
    """
    thresholds, detections = hits.shape
    curve = np.zeros((thresholds, len(recalls)))
    if not detections:
        return curve, np.zeros(thresholds)
    true_positives = np.cumsum(hits, axis=1).astype(float)
    false_positives = np.cumsum(false_alarms, axis=1).astype(float)
    recall = true_positives / objects
    precision = true_positives / (false_positives + true_positives + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for row in range(thresholds):
        at = np.searchsorted(recall[row], recalls, side="left")
        reached = at < detections
        curve[row, reached] = envelope[row, at[reached]]
    return curve, recall[:, -1]
