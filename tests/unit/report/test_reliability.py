"""Precision by score."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.report.content import ReliabilityBin
from maskrcnn_trainer.report.reliability import reliability


def bins(outcomes: str, *scores: float) -> tuple[ReliabilityBin, ...]:
    letters = np.array(list(outcomes), "U1")
    return reliability(np.array(scores, float), letters == "T", letters == "F")


def test_ten_bins_cover_all_scores() -> None:
    assert [(one.low, one.high) for one in bins("")] == [(step / 10, (step + 1) / 10) for step in range(10)]


def test_share_of_matched_detections_and_mean_score() -> None:
    one = bins("TFF", 0.52, 0.54, 0.59)[5]
    assert (one.detections, one.mean_score, one.precision) == (3, pytest.approx(0.55), pytest.approx(1 / 3))


def test_bin_without_detections_has_no_mean() -> None:
    assert bins("T", 0.95)[0] == ReliabilityBin(0.0, 0.1, 0, None, None)


@pytest.mark.parametrize(("score", "number"), [(0.0, 0), (0.1, 1), (0.3, 3), (0.6, 6), (0.7, 7), (0.9, 9), (1.0, 9)])
def test_score_on_a_bound_belongs_to_the_upper_bin_and_1_to_the_last(score: float, number: int) -> None:
    assert [one.detections for one in bins("T", score)] == [int(at == number) for at in range(10)]


def test_detection_that_counts_nowhere_is_left_out() -> None:
    assert bins("-F", 0.95, 0.92)[9] == ReliabilityBin(0.9, 1.0, 1, 0.92, 0.0)
