"""Histogram of a tensor's absolute values over many images, whose range grows with the values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 2048

_BLOCK = 1 << 20


class Histogram:
    """Counts of |x| in 2048 equal bins from 0 to ``limit``.

    A value beyond the limit doubles the limit, as often as needed, and pairs of bins are merged: all counts are kept,
    and one pass over the images is enough. Zeros are not counted: every scale represents them exactly, and after a
    ReLU they would dominate the histogram.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.limit = 0.0

    @property
    def bin_width(self) -> float:
        """Width of a bin."""
        return self.limit / BINS

    def add(self, values: NDArray[np.float32]) -> None:
        """Count all values of an array of any shape.

        Raises:
            ValueError: a value is not finite.
        """
        flat = values.reshape(-1)
        if not flat.size:
            return
        largest = float(max(flat.max(), -flat.min()))
        if not np.isfinite(largest):
            raise ValueError("values that are not finite cannot be calibrated")
        if largest == 0.0:
            return
        if self.limit == 0.0:
            self.limit = largest
        while self.limit < largest:
            self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[BINS // 2 :] = 0
            self.limit *= 2.0
        factor = np.float32(BINS / self.limit)
        for start in range(0, flat.size, _BLOCK):
            block = np.abs(flat[start : start + _BLOCK])
            bins = np.minimum((block[block > 0] * factor).astype(np.intp), BINS - 1)
            self.counts += np.bincount(bins, minlength=BINS)
