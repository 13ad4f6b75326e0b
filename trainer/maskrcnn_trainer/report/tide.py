"""Errors of detections by type, and the AP that each type costs.

Definitions: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", arXiv:2008.08115, sections
2.2 and 2.3. Where the paper leaves something open, the rules of its reference code ``tidecv`` 1.0.1 apply, so that both
give the same numbers; ``tests/report/test_tide_parity.py`` compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.evaluation.coco_matching import RECALLS
from maskrcnn_trainer.evaluation.coco_metrics import STANDARD_DETECTIONS
from maskrcnn_trainer.report.comparison import SMALLEST_IOU, Comparison, Pairs
from maskrcnn_trainer.report.content import Errors, ErrorType
from maskrcnn_trainer.report.matching import MATCH_IOU, Matches
from maskrcnn_trainer.report.precision_recall import curve_of_class, rows_by_category

# COCO's own recalls are off by a rounding error, such as 0.57 and a bit, which a recall of 57 in 100 doesn't reach.
EXACT_RECALLS: NDArray[np.float64] = np.arange(101) / 100
ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)


@dataclass(frozen=True)
class Classified:
    """Type of each error, and the detection that would find each object if its error were corrected.

    Attributes:
        hits: bool [D], detections that match an object, among the 100 best of their image.
        types: int8 [D], position in ``ERROR_TYPES`` of each other detection among these; -1 for all others.
        counted: bool [D], set if the error counts: a detection that lies on a crowd does not.
        corrected: int32 [D], position of the object that the detection finds once its class (Cls) or its place (Loc)
            is corrected; -1 if another one finds it, or none is left to find.
        found: bool [G], objects that a detection matches.
        missed: bool [G], objects that no detection finds, not even a corrected one.
    """

    hits: NDArray[np.bool_]
    types: NDArray[np.int8]
    counted: NDArray[np.bool_]
    corrected: NDArray[np.int32]
    found: NDArray[np.bool_]
    missed: NDArray[np.bool_]


@dataclass(frozen=True)
class _Points:
    """Detections from which AP is computed, and the number of objects of each category."""

    categories: NDArray[np.int32]
    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    objects: NDArray[np.int64]


def errors(comparison: Comparison, matches: Matches, category_ids: Sequence[int]) -> Errors:
    """Return the errors by type with their cost.

    Args:
        comparison: detections and objects.
        matches: matches by COCO's rule at IoU 0.5.
        category_ids: raw id of each category.
    """
    classified = classify(comparison, matches)
    base = _base(comparison, classified)
    with_objects = np.flatnonzero(base.objects)
    ap50 = _average_precision(base, RECALLS)[with_objects]
    before = _average_precision(base)[with_objects]
    lost: dict[ErrorType, float] = {}
    by_class: dict[int, dict[ErrorType, float]] = {category_ids[category]: {} for category in with_objects}
    for error in ERROR_TYPES:
        after = _average_precision(_corrected(comparison, classified, base, error))[with_objects]
        lost[error] = _gain(before, after)
        for category, gain in zip(with_objects, _gains(before, after).tolist(), strict=True):
            by_class[category_ids[category]][error] = gain
    counts = np.bincount(classified.types[classified.counted], minlength=len(ERROR_TYPES)).tolist()
    counts[ERROR_TYPES.index("Miss")] = int(classified.missed.sum())
    return Errors(
        kind=comparison.kind,
        ap50=float(ap50.mean()) if len(ap50) else None,
        lost=lost,
        false_positives=_gain(before, _average_precision(_without_false_positives(base))[with_objects]),
        false_negatives=_gain(
            before,
            _average_precision(_without_objects(_sorted_as_tidecv(base), comparison, ~classified.found))[with_objects],
        ),
        by_class=by_class,
        counts=dict(zip(ERROR_TYPES, counts, strict=True)),
    )


def classify(comparison: Comparison, matches: Matches) -> Classified:
    """Return the type of each error.

    A detection that lies on a crowd costs nothing where it is, but a corrected one may find an object.

    Args:
        comparison: detections and objects.
        matches: matches by COCO's rule at IoU 0.5. Those of the 100 best detections of an image are among them,
            because a detection's match depends on better ones only.
    """
    within = comparison.detections.rank < STANDARD_DETECTIONS
    hits = matches.hits & within
    wrong = within & ~hits
    found = np.zeros(len(comparison.objects.categories), bool)
    found[matches.objects[hits]] = True
    types, own, other = types_of_errors(comparison)
    types[~wrong] = -1
    target = np.where(types == ERROR_TYPES.index("Loc"), own, np.where(types == ERROR_TYPES.index("Cls"), other, -1))
    candidates = np.flatnonzero(target >= 0)
    candidates = candidates[~found[target[candidates]]]
    reachable, first = np.unique(target[candidates], return_index=True)  # the first is the best of an image
    corrected = np.full(len(wrong), -1, np.int32)
    corrected[candidates[first]] = reachable
    missed = ~found
    missed[reachable] = False
    return Classified(hits, types, wrong & (comparison.crowd_ious < MATCH_IOU), corrected, found, missed)


def types_of_errors(
    comparison: Comparison,
) -> tuple[NDArray[np.int8], NDArray[np.int32], NDArray[np.int32]]:
    """Return the type that each detection has if it is an error, and the objects that it overlaps most.

    Returns:
        int8 [D], position in ``ERROR_TYPES``; int32 [D] each, position of the object of the detection's class and of
        the object of another class with the highest IoU, -1 without one.
    """
    pairs = comparison.pairs
    size = len(comparison.detections.images)
    own, own_iou = _best(pairs, pairs.same_class, size)
    other, other_iou = _best(pairs, ~pairs.same_class, size)
    types = np.full(size, -1, np.int8)
    # The order of these tests is that of tidecv. An object of the class with an IoU over 0.5 has a better detection.
    tests: tuple[tuple[ErrorType, NDArray[np.bool_]], ...] = (
        ("Loc", (own_iou >= SMALLEST_IOU) & (own_iou <= MATCH_IOU)),
        ("Cls", other_iou >= MATCH_IOU),
        ("Dupe", own_iou > MATCH_IOU),
        ("Bkg", np.maximum(own_iou, other_iou) <= SMALLEST_IOU),
        ("Both", np.ones(size, bool)),
    )
    for name, holds in tests:
        types[holds & (types < 0)] = ERROR_TYPES.index(name)
    return types, own, other


def _best(pairs: Pairs, kept: NDArray[np.bool_], detections: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the object with the highest IoU of each detection and the IoU; -1 and 0 without one."""
    rows = np.flatnonzero(kept)
    numbers, first = np.unique(pairs.detections[rows], return_index=True)
    objects, ious = np.full(detections, -1, np.int32), np.zeros(detections)
    objects[numbers], ious[numbers] = pairs.objects[rows[first]], pairs.ious[rows[first]]
    return objects, ious


def _base(comparison: Comparison, classified: Classified) -> _Points:
    rows = np.flatnonzero(classified.hits | classified.counted)
    return _Points(
        comparison.detections.categories[rows],
        comparison.detections.scores[rows],
        classified.hits[rows],
        np.bincount(comparison.objects.categories, minlength=comparison.categories),
    )


def _corrected(comparison: Comparison, classified: Classified, base: _Points, error: ErrorType) -> _Points:
    """Return the points after all errors of one type are corrected: moved to their object, or removed."""
    if error == "Miss":
        return _without_objects(_sorted_as_tidecv(base), comparison, classified.missed)
    of_type = classified.types == ERROR_TYPES.index(error)
    hits = of_type & (classified.corrected >= 0)
    kept = classified.counted & ~of_type
    categories = comparison.detections.categories.copy()
    categories[hits] = comparison.objects.categories[classified.corrected[hits]]
    rows = np.concatenate([np.flatnonzero(kept | hits), np.flatnonzero(classified.hits)])
    scores = comparison.detections.scores
    return replace(base, categories=categories[rows], scores=scores[rows], hits=(hits | classified.hits)[rows])


def _sorted_as_tidecv(points: _Points) -> _Points:
    """Return the points in the order that decides between equal scores in tidecv's corrected curves: errors first."""
    order = np.argsort(points.hits, kind="stable")
    return replace(points, categories=points.categories[order], scores=points.scores[order], hits=points.hits[order])


def _without_objects(points: _Points, comparison: Comparison, removed: NDArray[np.bool_]) -> _Points:
    fewer = np.bincount(comparison.objects.categories[removed], minlength=comparison.categories)
    return replace(points, objects=points.objects - fewer)


def _without_false_positives(points: _Points) -> _Points:
    return replace(points, scores=points.hits.astype(np.float64))


def _average_precision(points: _Points, recalls: NDArray[np.float64] = EXACT_RECALLS) -> NDArray[np.float64]:
    """Return AP of each category in points of 100: float64 [K]; NaN without objects and detections."""
    values = np.full(len(points.objects), np.nan)
    for category, rows in enumerate(rows_by_category(points.categories, len(points.objects))):
        if points.objects[category]:
            hits = points.hits[rows]
            objects = int(points.objects[category])
            values[category] = 100 * curve_of_class(points.scores[rows], hits, ~hits, objects, recalls).mean()
        elif len(rows):
            values[category] = 0.0
    return values


def _gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the difference of the means over classes, at least 0.

    A class of which nothing is left (its objects were missed, and it has no detections) is left out of the second mean,
    as in tidecv. If nothing is left of any class, the second mean is 100.
    """
    if not len(before):
        return 0.0
    left = after[~np.isnan(after)]
    return max(float(left.mean() if len(left) else 100.0) - float(before.mean()), 0.0)


def _gains(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference in each class, at least 0; 100 is reached where nothing is left."""
    gains: NDArray[np.float64] = np.maximum(np.where(np.isnan(after), 100.0, after) - before, 0.0)
    return gains
