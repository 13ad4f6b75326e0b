"""Precision of detections by their score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.report.content import ReliabilityBin

RELIABILITY_BINS = 10


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
