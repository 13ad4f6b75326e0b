"""Matches of detections and objects: better detections first, each with the best object that is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.evaluation.coco_metrics import STANDARD_DETECTIONS
from maskrcnn_trainer.report.comparison import Comparison, Pairs

MATCH_IOU = 0.5
"""IoU from which on a detection counts as true, wherever no other one is named."""


@dataclass(frozen=True)
class Matches:
    """Result of each of D detections at one IoU threshold.

    A detection that is neither a hit nor a false alarm counts nowhere: it lies on a crowd, or is beyond the limit.

    Attributes:
        objects: int32 [D], position of the matched object, -1 without one.
        hits: bool [D], set if the detection matches an object.
        false_alarms: bool [D], set if the detection counts and matches no object.
    """

    objects: NDArray[np.int32]
    hits: NDArray[np.bool_]
    false_alarms: NDArray[np.bool_]


def coco_matches(comparison: Comparison, iou: float) -> Matches:
    """Match detections with objects of their class, as COCO does.

    Of each class in each image the 100 best detections count (https://cocodataset.org/#detection-eval).

    Args:
        comparison: detections and objects.
        iou: smallest IoU of a match, from ``SMALLEST_IOU`` to 1.
    """
    counted = comparison.detections.class_rank < STANDARD_DETECTIONS
    pairs = comparison.pairs
    kept = (pairs.ious >= iou) & pairs.same_class & counted[pairs.detections]
    return _matches(comparison, kept, counted, iou)


def matches_of_any_class(comparison: Comparison, iou: float, score: float) -> Matches:
    """Match detections with objects of whatever class.

    Args:
        comparison: detections and objects.
        iou: smallest IoU of a match, from ``SMALLEST_IOU`` to 1.
        score: smallest score of a detection that counts. The limit of 100 per class and image applies as well, so that
            the same detections count as in the other numbers.
    """
    counted = (comparison.detections.class_rank < STANDARD_DETECTIONS) & (comparison.detections.scores >= score)
    kept = (comparison.pairs.ious >= iou) & counted[comparison.pairs.detections]
    return _matches(comparison, kept, counted, iou)


def _matches(comparison: Comparison, kept: NDArray[np.bool_], counted: NDArray[np.bool_], iou: float) -> Matches:
    objects = _best_first(comparison.pairs, kept, len(counted))
    hits = objects >= 0
    return Matches(objects, hits, counted & ~hits & (comparison.crowd_ious < iou))


def _best_first(pairs: Pairs, kept: NDArray[np.bool_], detections: int) -> NDArray[np.int32]:
    """Return the object of each detection: int32 [D], -1 without one."""
    rows = np.flatnonzero(kept)
    # Of objects with the same IoU pycocotools takes the last.
    rows = rows[np.lexsort((-pairs.objects[rows], -pairs.ious[rows], pairs.detections[rows]))]
    matched = np.full(detections, -1, np.int32)
    taken: set[int] = set()
    done = -1
    for detection, found in zip(pairs.detections[rows].tolist(), pairs.objects[rows].tolist(), strict=True):
        if detection != done and found not in taken:
            matched[detection] = found
            taken.add(found)
            done = detection
    return matched
