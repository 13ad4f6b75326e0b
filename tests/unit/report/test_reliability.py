"""Precision by score."""

from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.report.content import ReliabilityBin, ScoreError
from maskrcnn_trainer.report.reliability import reliability, score_errors


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


def filled(number: int, excess: float, detections: int = 20) -> ReliabilityBin:
    score = number / 10 + 0.05
    return ReliabilityBin(number / 10, (number + 1) / 10, detections, score, score - excess)


def test_adjacent_bins_that_are_wrong_alike_are_one_error() -> None:
    bins = (filled(3, -0.11), filled(4, 0.2), filled(5, 0.14, 40), filled(6, 0.1), filled(7, 0.3))
    assert score_errors(bins) == (
        ScoreError(0.3, 0.4, 20, pytest.approx(-0.11)),
        ScoreError(0.4, 0.6, 60, pytest.approx(0.16)),
        ScoreError(0.7, 0.8, 20, pytest.approx(0.3)),
    )


def test_bin_with_few_detections_is_no_error() -> None:
    assert score_errors((filled(4, 0.5, 19), filled(5, 0.05))) == ()


def test_without_a_bin_of_twenty_detections_reliability_is_unknown() -> None:
    assert score_errors((filled(4, 0.5, 19), *bins("T", 0.95))) is None
