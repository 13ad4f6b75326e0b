"""Range of a tensor that loses the least information when it is quantized to 128 levels.

Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017: the histogram is truncated at the bin that
minimizes the Kullback-Leibler divergence between the truncated distribution, whose last bin includes everything beyond
it, and the same distribution quantized to 128 levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEPS = 128


def entropy_range(counts: NDArray[np.int64], bin_width: float) -> float:
    """Return the largest absolute value to represent.

    With bin counts h, their sum T, and a cut after i bins whose counts sum to C, leaving o beyond:
    KL = sum p log p - sum p log q, where p = h / T with o added to the last bin, and q distributes the sum of each
    level evenly over its nonempty bins, divided by C. Within a level q is constant, so only the sums of the levels are
    needed, and all cuts are evaluated at once.

    Args:
        counts: counts of |x| > 0, in bins of equal width from 0 on; at least 128 bins.
        bin_width: width of a bin.

    Returns:
        the value, or 0 if nothing was counted.
    """
    h = counts.astype(np.float64)
    total = h.sum()
    if total == 0:
        return 0.0
    held = np.concatenate([[0.0], np.cumsum(h)])
    filled = np.concatenate([[0], np.cumsum(h > 0)])
    own = np.concatenate([[0.0], np.cumsum(_times_log(h))])
    # A cut after an empty bin leaves the same counts beyond as the cut before it, with coarser levels.
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
    """Return x log x, with 0 for x = 0."""
    result: NDArray[np.float64] = values * np.log(np.maximum(values, 1e-300))
    return result
