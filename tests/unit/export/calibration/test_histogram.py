"""Histograms of absolute values, whose range grows with the values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maskrcnn_trainer.export.calibration.histogram import BINS, Histogram


def test_a_histogram_counts_absolute_values_and_leaves_zeros_out() -> None:
    histogram = Histogram()
    histogram.add(np.array([[0.0, -1.0], [0.25, 1.0]], np.float32))
    assert histogram.limit == 1.0
    assert histogram.counts.sum() == 3
    assert histogram.counts[BINS // 4] == 1
    assert histogram.counts[-1] == 2


def test_grown_histogram_equals_one_with_the_final_range() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=10_000)).astype(np.float32)
    values = np.sort(values[values > 0.01])
    whole, grown = Histogram(), Histogram()
    grown.add(values[:3000])
    first = grown.limit
    grown.add(values[3000:])
    doublings = round(math.log2(grown.limit / first))
    assert doublings >= 2
    assert grown.limit == pytest.approx(first * 2**doublings)
    assert grown.limit >= values[-1] > grown.limit / 2
    whole.limit = grown.limit
    whole.add(values)
    assert grown.counts.sum() == len(values)
    # Halving is exact. Only the largest value of the first call, equal to the limit, is counted just below its edge.
    differences = np.cumsum(grown.counts) - np.cumsum(whole.counts)
    assert differences.min() == 0
    assert differences.sum() == 1


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Histogram().add(np.array([1.0, np.inf], np.float32))
