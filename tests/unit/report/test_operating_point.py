"""F1 over the score, of manually computed cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from maskrcnn_trainer.report.content import OperatingPoint
from maskrcnn_trainer.report.interval import wilson_interval
from maskrcnn_trainer.report.operating_point import f1_at, operating_point


def point(outcomes: str, scores: Sequence[float], objects: int) -> OperatingPoint:
    """Return the operating point of detections: T is true, F is false, - counts nowhere."""
    letters = np.array(list(outcomes), "U1")
    return operating_point(np.array(scores, float), letters == "T", letters == "F", objects)


def at(result: OperatingPoint, score: float) -> tuple[float | None, float | None, float | None]:
    position = result.scores.index(score)
    return result.precision[position], result.recall[position], result.f1[position]


def test_precision_recall_and_f1_of_the_detections_from_a_score_on() -> None:
    result = point("TFTF", [0.9, 0.8, 0.7, 0.6], 3)
    assert at(result, 0.75) == (1 / 2, 1 / 3, 2 / 5)
    assert at(result, 0.7) == (2 / 3, 2 / 3, 4 / 6)
    assert at(result, 0.0) == (2 / 4, 2 / 3, 4 / 7)
    assert at(result, 0.9) == (1, 1 / 3, 2 / 4)
    assert at(result, 0.91) == (None, 0, 0)


def test_best_score_has_the_highest_f1() -> None:
    result = point("TFTF", [0.9, 0.8, 0.7, 0.6], 3)
    assert (result.best_score, result.best_f1) == (0.7, 4 / 6)


def test_detections_may_have_any_order() -> None:
    assert point("FTFT", [0.6, 0.7, 0.8, 0.9], 3) == point("TFTF", [0.9, 0.8, 0.7, 0.6], 3)


def test_best_score_is_one_of_the_thresholds_and_these_ascend() -> None:
    result = point("T", [0.123456], 1)
    assert result.best_score == 0.123456
    assert at(result, 0.123456) == (1, 1, 1)
    assert list(result.scores) == sorted({*(step / 100 for step in range(101)), 0.123456})


def test_of_equal_f1_the_highest_score_is_best() -> None:
    # 2 / (1 + 2) at 0.9, 4 / (4 + 2) at 0.6
    assert point("TFFT", [0.9, 0.8, 0.7, 0.6], 2).best_score == 0.9


def test_detections_of_one_score_count_together() -> None:
    result = point("TF", [0.5, 0.5], 1)
    assert (result.best_score, result.best_f1) == (0.5, 2 / 3)
    assert at(result, 0.5) == (1 / 2, 1, 2 / 3)


def test_best_score_does_not_divide_the_detections_of_one_score() -> None:
    # all four at 0.5 have F1 4 / (5 + 2); the first alone would have 1
    assert point("TTFFF", [0.9, 0.5, 0.5, 0.5, 0.5], 2).best_score == 0.9


def test_detection_that_counts_nowhere_changes_nothing() -> None:
    assert point("-T-", [0.99, 0.5, 0.1], 2) == point("T", [0.5], 2)


def test_no_detections() -> None:
    result = point("", [], 2)
    assert (result.best_score, result.best_f1) == (None, 0.0)
    assert at(result, 0.5) == (None, 0, 0)


def test_detections_that_all_count_nowhere_have_no_best_score() -> None:
    assert point("--", [0.9, 0.8], 1).best_score is None


def test_no_objects() -> None:
    result = point("FF", [0.9, 0.8], 0)
    assert (result.best_score, result.best_f1) == (0.9, 0.0)
    assert at(result, 0.85) == (0, None, 0)


def test_neither_objects_nor_detections() -> None:
    result = point("", [], 0)
    assert (result.best_score, result.best_f1) == (None, None)
    assert at(result, 0.5) == (None, None, None)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_scores_at_the_ends_of_the_range(score: float) -> None:
    result = point("T", [score], 1)
    assert (result.best_score, at(result, score)) == (score, (1, 1, 1))


def test_scores_around_the_best_with_an_f1_within_a_hundredth_are_equally_good() -> None:
    outcomes = "T" * 100 + "F" * 2 + "F" * 9
    scores = [0.9] * 50 + [0.5] * 50 + [0.3] * 2 + [0.2] * 9
    # 200 / 200 at 0.5, 200 / 202 at 0.3, 200 / 211 at 0.2, 100 / 150 from 0.51 on
    assert point(outcomes, scores, 100).equally_good == (0.21, 0.5)


def test_without_a_best_score_no_score_is_equally_good() -> None:
    assert point("", [], 2).equally_good is None


def test_f1_at_a_score_counts_the_detections_from_it_on() -> None:
    scores, hits = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert f1_at(scores, hits, ~hits, 3, 0.7) == 4 / 6
    assert f1_at(scores, hits, hits & False, 3, 0.8) == 2 / 4
    assert f1_at(scores, hits, ~hits, 0, 0.95) is None


def test_recall_at_the_best_score_has_its_interval() -> None:
    assert point("TFTF", [0.9, 0.8, 0.7, 0.6], 3).recall_interval == wilson_interval(2, 3)
    assert point("", [], 3).recall_interval is None
    assert point("F", [0.5], 0).recall_interval is None
