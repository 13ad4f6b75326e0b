"""Precision of detections by their score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.report.content import ReliabilityBin, ScoreError

RELIABILITY_BINS = 10
FEWEST_DETECTIONS = 20
"""Below these the precision of a bin is uncertain by more than 0.2 (two standard errors at a precision of 0.5)."""

LARGEST_ERROR = 0.1


def reliability(
    scores: NDArray[np.float64], hits: NDArray[np.bool_], false_alarms: NDArray[np.bool_]
) -> tuple[ReliabilityBin, ...]:
    """Return ten bins of equal width over the scores 0..1; a score on a bound belongs to the upper bin.

    Args:
        scores: [D], in 0..1.
        hits: [D], set if the detection matches an object.
        false_alarms: [D], set if it counts and matches none.
    """
    edges = np.arange(RELIABILITY_BINS + 1) / RELIABILITY_BINS
    counted = hits | false_alarms
    bins = np.searchsorted(edges[1:-1], scores[counted], side="right")
    numbers = np.bincount(bins, minlength=RELIABILITY_BINS).tolist()
    sums = np.bincount(bins, weights=scores[counted], minlength=RELIABILITY_BINS).tolist()
    matched = np.bincount(bins, weights=hits[counted], minlength=RELIABILITY_BINS).tolist()
    return tuple(
        ReliabilityBin(
            low=float(edges[at]),
            high=float(edges[at + 1]),
            detections=number,
            mean_score=sums[at] / number if number else None,
            precision=matched[at] / number if number else None,
        )
        for at, number in enumerate(numbers)
    )


def score_errors(bins: Sequence[ReliabilityBin]) -> tuple[ScoreError, ...] | None:
    """Return the bins whose mean score differs from their precision by more than 0.1, adjacent ones as one.

    Bins with fewer than 20 detections are left out; None if all have fewer.
    """
    excesses = [
        one.mean_score - one.precision
        if one.detections >= FEWEST_DETECTIONS and one.mean_score is not None and one.precision is not None
        else None
        for one in bins
    ]
    if all(excess is None for excess in excesses):
        return None
    found = []
    # A difference of exactly LARGEST_ERROR may be a little more in floating point.
    signs = [0 if excess is None or abs(excess) <= LARGEST_ERROR + 1e-9 else np.sign(excess) for excess in excesses]
    for sign, positions in groupby(range(len(bins)), lambda at: signs[at]):
        if sign:
            at = list(positions)
            detections = sum(bins[number].detections for number in at)
            excess = sum((excesses[number] or 0.0) * bins[number].detections for number in at) / detections
            found.append(ScoreError(bins[at[0]].low, bins[at[-1]].high, detections, excess))
    return tuple(found)
