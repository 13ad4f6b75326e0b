"""Precision, recall, and F1 over the score, and the score with the highest F1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.report.content import OperatingPoint
from maskrcnn_trainer.report.interval import wilson_interval

SCORE_STEPS = 100
"""Steps of the thresholds from 0 to 1. The best score is found among all scores of the detections."""

EQUAL_F1 = 0.01
"""F1 below the best within which a threshold is as good."""


def operating_point(
    scores: NDArray[np.float64], hits: NDArray[np.bool_], false_alarms: NDArray[np.bool_], objects: int
) -> OperatingPoint:
    """Return F1 over the score; the matches at a threshold are those of the detections from this score on.

    F1 is 2 TP / (detections + objects), the harmonic mean of precision and recall.

    Args:
        scores: [D].
        hits: [D], set if the detection matches an object.
        false_alarms: [D], set if it counts and matches none.
        objects: number of objects.
    """
    counted = hits | false_alarms
    order = np.argsort(-scores[counted], kind="stable")
    ordered = scores[counted][order]
    found = np.concatenate([[0], np.cumsum(hits[counted][order], dtype=np.int64)])
    best_score = _best(ordered, found, objects)
    thresholds = np.union1d(np.arange(SCORE_STEPS + 1) / SCORE_STEPS, [] if best_score is None else [best_score])
    detections = np.searchsorted(-ordered, -thresholds, side="right")
    true = found[detections]
    f1 = _shares(2 * true, detections + objects)
    best = 0 if best_score is None else int(np.searchsorted(thresholds, best_score))
    return OperatingPoint(
        scores=tuple(thresholds.tolist()),
        precision=_shares(true, detections),
        recall=_shares(true, np.full(len(true), objects)),
        f1=f1,
        best_score=best_score,
        best_f1=f1[best],
        equally_good=None if best_score is None else _equally_good(thresholds, f1, best),
        recall_interval=None if best_score is None else wilson_interval(int(true[best]), objects),
    )


def f1_at(
    scores: NDArray[np.float64], hits: NDArray[np.bool_], false_alarms: NDArray[np.bool_], objects: int, score: float
) -> float | None:
    """Return F1 of the detections from a score on; None if there are no detections and no objects.

    Args:
        scores: [D].
        hits: [D], set if the detection matches an object.
        false_alarms: [D], set if it counts and matches none.
        objects: number of objects.
        score: threshold.
    """
    from_score = scores >= score
    counted = int(np.count_nonzero((hits | false_alarms) & from_score)) + objects
    return 2 * int(np.count_nonzero(hits & from_score)) / counted if counted else None


def _equally_good(thresholds: NDArray[np.float64], f1: Sequence[float | None], best: int) -> tuple[float, float] | None:
    """Return the ends of the thresholds [N] around the best one with an F1 within EQUAL_F1 of it; None if undefined."""
    values = np.array([-1.0 if value is None else value for value in f1])
    if values[best] < 0:
        return None
    # A difference of exactly EQUAL_F1 may be a little more in floating point.
    lower = np.flatnonzero(values[best] - values > EQUAL_F1 + 1e-9)
    at = int(np.searchsorted(lower, best))
    first = int(lower[at - 1]) + 1 if at else 0
    last = int(lower[at]) - 1 if at < len(lower) else len(values) - 1
    return float(thresholds[first]), float(thresholds[last])


def _best(ordered: NDArray[np.float64], found: NDArray[np.int64], objects: int) -> float | None:
    """Return the score with the highest F1, the highest of equals, of descending scores [N]; None without scores."""
    if not len(ordered):
        return None
    # With several detections of one score all of them count, so only the last of each score is a threshold.
    last = np.append(ordered[1:] != ordered[:-1], True)
    detections = np.flatnonzero(last) + 1
    return float(ordered[last][np.argmax(2 * found[detections] / (detections + objects))])


def _shares(parts: NDArray[Any], wholes: NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True))
