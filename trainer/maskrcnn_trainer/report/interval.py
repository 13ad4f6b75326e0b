"""Uncertainty of a share of counted objects."""

from __future__ import annotations

import math

NORMAL_QUANTILE = 1.959964
"""97.5% quantile of the standard normal distribution: 95% lie within this many standard deviations."""


def wilson_interval(part: int, whole: int) -> tuple[float, float] | None:
    """Return the 95% score interval of a share, in 0..1; None of an empty whole.

    The formula is that of Wilson, "Probable inference, the law of succession, and statistical inference", Journal of
    the American Statistical Association 22 (1927), pages 209-212. It assumes that the objects are independent.

    Args:
        part: number of objects that count, 0..whole.
        whole: number of all.
    """
    if not whole:
        return None
    share, square = part / whole, NORMAL_QUANTILE**2
    middle = share + square / (2 * whole)
    half = NORMAL_QUANTILE * math.sqrt(share * (1 - share) / whole + square / (4 * whole**2))
    scale = 1 + square / whole
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
