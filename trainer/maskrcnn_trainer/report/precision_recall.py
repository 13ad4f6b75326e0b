"""Precision over recall by class, from the same function as AP in ``metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.evaluation.coco_curves import precision_at_recalls
from maskrcnn_trainer.evaluation.coco_matching import RECALLS
from maskrcnn_trainer.report.comparison import Comparison
from maskrcnn_trainer.report.content import PrecisionRecall
from maskrcnn_trainer.report.matching import Matches


def precision_recall(
    comparison: Comparison, matches: Matches, iou: float, category_ids: Sequence[int]
) -> PrecisionRecall:
    """Return the precision at COCO's 101 recalls; the mean of a curve is AP at this IoU.

    Args:
        comparison: detections and objects.
        matches: matches by COCO's rule at ``iou``.
        iou: threshold.
        category_ids: raw id of each category.
    """
    detections = comparison.detections
    objects = np.bincount(comparison.objects.categories, minlength=comparison.categories)
    curves = {
        category: curve_of_class(detections.scores[rows], matches.hits[rows], matches.false_alarms[rows], int(number))
        for category, (number, rows) in enumerate(
            zip(objects, rows_by_category(detections.categories, comparison.categories), strict=True)
        )
        if number
    }
    return PrecisionRecall(
        iou=iou,
        overall=tuple(np.mean(list(curves.values()), axis=0).tolist()) if curves else None,
        by_class={category_ids[category]: tuple(curve.tolist()) for category, curve in curves.items()},
    )


def curve_of_class(
    scores: NDArray[np.float64],
    hits: NDArray[np.bool_],
    false_alarms: NDArray[np.bool_],
    objects: int,
    recalls: NDArray[np.float64] = RECALLS,
) -> NDArray[np.float64]:
    """Return the interpolated precision float64 [R] of the detections [D] of one class with at least one object."""
    order = np.argsort(-scores, kind="stable")
    precision, _ = precision_at_recalls(hits[order][None], false_alarms[order][None], objects, recalls)
    curve: NDArray[np.float64] = precision[0]
    return curve


def rows_by_category(categories: NDArray[np.int32], number: int) -> list[NDArray[np.int64]]:
    """Return the ascending positions of the entries of each of ``number`` categories."""
    order = np.argsort(categories, kind="stable")
    return np.split(order, np.searchsorted(categories[order], np.arange(1, number)))
