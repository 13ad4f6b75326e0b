"""Intervals of shares."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.report.interval import wilson_interval


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        # (share + z² / 2n ± z sqrt(share (1 - share) / n + z² / 4n²)) / (1 + z² / n)
        (62, 121, (0.4243, 0.5997)),
        (5, 10, (0.2366, 0.7634)),
        # at the ends one bound is the end, and the other is z² / (n + z²) away
        (0, 10, (0.0, 0.2775)),
        (10, 10, (0.7225, 1.0)),
    ],
)
def test_interval_of_a_share(part: int, whole: int, expected: tuple[float, float]) -> None:
    assert wilson_interval(part, whole) == pytest.approx(expected, abs=5e-5)


def test_empty_whole_has_no_interval() -> None:
    assert wilson_interval(0, 0) is None
