"""The range of a tensor that loses least information when it is told apart in 128 steps.

Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017: of all places to cut the histogram, the one
after which the distribution, what lies beyond counted as the last bin, differs least (by Kullback-Leibler divergence)
from the same one rounded to 128 steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 128


def entropy_range(counts: NDArray[np.int64], bin_width: float) -> float:
    """The largest absolute value to tell apart.

    With counts h of n bins, T their sum, and a cut after i bins that hold C and leave o beyond:
    KL = sum p log p - sum p log q, where p = h / T with o added to the last bin, and q spreads each step's sum evenly
    over those of its bins that hold something, divided by C. Inside a step q is constant, so that only the sums of
    steps are needed, and all cuts are made at once.

    Args:
        counts: of |x| > 0, in bins of equal width from 0 on; at least 128 bins.
        bin_width: width of a bin.

    Returns:
        0 where nothing was counted.
    """
    h = counts.astype(np.float64)
    total = h.sum()
    if total == 0:
        return 0.0
    held = np.concatenate([[0.0], np.cumsum(h)])
    filled = np.concatenate([[0], np.cumsum(h > 0)])
    own = np.concatenate([[0.0], np.cumsum(_times_log(h))])
    # A cut behind an empty bin leaves as much beyond as the one before it, with coarser steps.
    cuts = np.array([cut for cut in range(STEPS, len(h) + 1) if h[cut - 1] > 0])
    if cuts.size == 0:
        return float(np.flatnonzero(h)[-1] + 1) * bin_width

    edges = np.arange(STEPS + 1) * cuts[:, None] // STEPS
    sums = np.diff(held[edges], axis=1)
    spread = sums / np.maximum(np.diff(filled[edges], axis=1), 1)
    beyond = total - held[cuts]
    last = h[cuts - 1] + beyond
    p_log_p = (own[cuts - 1] + _times_log(last)) / total - np.log(total)
    log_spread = np.log(np.maximum(spread, 1e-300))
    p_log_q = ((sums * log_spread).sum(axis=1) + beyond * log_spread[:, -1]) / total - np.log(held[cuts])
    best = int(np.argmin(p_log_p - p_log_q))
    return float(cuts[best]) * bin_width


def _times_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """X log x, 0 at 0."""
    result: NDArray[np.float64] = values * np.log(np.maximum(values, 1e-300))
    return result
