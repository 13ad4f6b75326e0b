"""The range of a histogram that loses the least information."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.export.calibration.entropy import STEPS, entropy_range
from maskrcnn_trainer.export.calibration.histogram import BINS, Histogram


def _divergence(counts: np.ndarray, cut: int) -> float:
    """Compute the divergence bin by bin, by the definition in Migacz' slides."""
    p = counts[:cut].astype(np.float64)
    p[-1] += counts[cut:].sum()
    q = np.zeros(cut)
    for step in range(STEPS):
        start, end = step * cut // STEPS, (step + 1) * cut // STEPS
        filled = np.flatnonzero(counts[start:end]) + start
        if filled.size:
            q[filled] = counts[start:end].sum() / filled.size
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_cut_is_the_one_with_the_smallest_divergence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    histogram = Histogram()
    histogram.add(np.concatenate([rng.normal(size=20_000), rng.normal(scale=4.0, size=200)]).astype(np.float32))
    counts = histogram.counts
    cuts = [cut for cut in range(STEPS, BINS + 1) if counts[cut - 1] > 0]
    best = min(cuts, key=lambda cut: _divergence(counts, cut))
    found = entropy_range(counts, histogram.bin_width)
    assert found == pytest.approx(best * histogram.bin_width)
    assert 0.1 * histogram.limit < found < histogram.limit


def test_a_lone_outlier_is_cut_off_and_an_even_spread_is_not() -> None:
    rng = np.random.default_rng(0)
    histogram = Histogram()
    histogram.add(np.append(rng.uniform(0, 1, 50_000), 16.0).astype(np.float32))
    assert entropy_range(histogram.counts, histogram.bin_width) < 2.0
    even = np.full(BINS, 7)
    assert entropy_range(even, 0.5) == pytest.approx(0.5 * BINS, rel=1 / 16)


def test_ranges_of_nothing_and_of_little() -> None:
    counts = np.zeros(BINS, np.int64)
    assert entropy_range(counts, 1.0) == 0.0
    counts[[3, 10]] = 5
    assert entropy_range(counts, 2.0) == 22.0
