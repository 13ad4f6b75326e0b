"""Confusion matrix with background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.report.comparison import SMALLEST_IOU, Comparison
from maskrcnn_trainer.report.content import Confusion
from maskrcnn_trainer.report.interval import wilson_interval
from maskrcnn_trainer.report.matching import coco_matches, matches_of_any_class


def confusion(comparison: Comparison, iou: float, score: float, names: Sequence[str]) -> Confusion:
    """Return how often objects of each class are detected as each class.

    Args:
        comparison: detections and objects.
        iou: smallest IoU of a match.
        score: smallest score of a detection.
        names: name of each category.
    """
    background = comparison.categories
    matches = matches_of_any_class(comparison, iou, score)
    found = comparison.detections.categories
    truth = comparison.objects.categories
    matched = matches.objects[matches.hits]
    missed = np.ones(len(truth), bool)
    missed[matched] = False
    counts = np.zeros((background + 1, background + 1), np.int64)
    np.add.at(counts, (truth[matched], found[matches.hits]), 1)
    counts[background] += np.bincount(found[matches.false_alarms], minlength=background + 1)
    counts[:, background] += np.bincount(truth[missed], minlength=background + 1)
    overlap = np.zeros(len(found))
    np.maximum.at(overlap, comparison.pairs.detections, comparison.pairs.ious)
    false = overlap[matches.false_alarms]
    of_own_class = coco_matches(comparison, iou)
    right = of_own_class.objects[of_own_class.hits & (comparison.detections.scores >= score)]
    confused = matched[truth[matched] != found[matches.hits]]
    occur = np.flatnonzero(counts.any(axis=0)[:-1] | counts.any(axis=1)[:-1])
    kept = np.append(occur, background)
    counts = counts[np.ix_(kept, kept)]
    return Confusion(
        score=score,
        names=tuple(names[category] for category in occur),
        counts=tuple(tuple(row) for row in counts.tolist()),
        normalized=tuple(tuple(value / sum(row) for value in row) if any(row) else None for row in counts.tolist()),
        on_taken=int(np.count_nonzero(false >= iou)),
        misplaced=int(np.count_nonzero((false > SMALLEST_IOU) & (false < iou))),
        on_nothing=int(np.count_nonzero(false <= SMALLEST_IOU)),
        found_as_well=int(np.isin(confused, right).sum()),
        interval=_interval_of_largest(counts),
    )


def _interval_of_largest(counts: NDArray[np.int64]) -> tuple[float, float] | None:
    """Return the interval of the largest count of two different classes, of equals that with the larger share."""
    confused = counts[:-1, :-1] * ~np.eye(len(counts) - 1, dtype=bool)
    if not confused.any():
        return None
    sums = counts.sum(axis=1)
    rows = np.nonzero(confused == confused.max())[0]
    return wilson_interval(int(confused.max()), int(sums[rows].min()))
