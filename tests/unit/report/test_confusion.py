"""Confusion matrix of manually computed scenes; rows are the truth, the last row and column are background."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.report.scenes import found, thing, truth

from maskrcnn_trainer.report.comparison import compare, evaluated_images
from maskrcnn_trainer.report.confusion import confusion
from maskrcnn_trainer.report.content import Confusion, Kind
from maskrcnn_trainer.report.interval import wilson_interval

A, B, AWAY = (0, 0, 40, 40), (100, 0, 40, 40), (150, 150, 40, 40)


def matrix(
    objects: list[dict[str, Any]], results: list[dict[str, Any]], score: float = 0.5, kind: Kind = "bbox"
) -> Confusion:
    ground_truth = truth(*objects)
    comparison = compare(evaluated_images(results, ground_truth, ground_truth.image_ids), kind)
    return confusion(comparison, 0.5, score, ["one", "two"])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_found_confused_missed_and_false(kind: Kind) -> None:
    objects = [thing(1, 1, A), thing(1, 2, B), thing(2, 1, A), thing(3, 2, B), thing(3, 2, A)]
    results = [found(1, 1, A, 0.9), found(1, 1, B, 0.8), found(2, 2, AWAY, 0.7), found(3, 2, B, 0.6)]
    result = matrix(objects, results, kind=kind)
    assert result.names == ("one", "two")
    assert result.counts == (
        (1, 0, 1),
        (1, 1, 1),
        (0, 1, 0),
    )
    assert result.normalized == ((1 / 2, 0, 1 / 2), (1 / 3, 1 / 3, 1 / 3), (0, 1, 0))


def test_detections_below_the_score_are_left_out_and_those_at_it_count() -> None:
    objects = [thing(1, 1, A), thing(1, 2, B)]
    result = matrix(objects, [found(1, 1, A, 0.5), found(1, 2, B, 0.49)])
    assert (result.score, result.counts) == (0.5, ((1, 0, 0), (0, 0, 1), (0, 0, 0)))


def test_false_detections_are_counted_by_where_they_are() -> None:
    # IoU 1 with a taken object, 1/3 with an object, 0 with any
    results = [found(1, 1, A, 0.9), found(1, 1, A, 0.8), found(1, 1, (20, 0, 40, 40), 0.7), found(1, 1, AWAY, 0.6)]
    result = matrix([thing(1, 1, A)], results)
    assert (result.on_taken, result.misplaced, result.on_nothing) == (1, 1, 1)
    assert sum(result.counts[-1]) == 3


def test_confused_object_with_a_lower_detection_of_its_class_is_found_as_well() -> None:
    objects = [thing(1, 1, A), thing(1, 1, B), thing(2, 1, A)]
    results = [
        found(1, 2, A, 0.9), found(1, 1, A, 0.8),
        found(1, 2, B, 0.9), found(1, 1, B, 0.4),  # below the score
        found(2, 2, A, 0.9),
    ]  # fmt: skip
    result = matrix(objects, results)
    assert result.counts[0][:2] == (0, 3)
    assert result.found_as_well == 1


def test_object_goes_to_the_highest_score_not_to_the_right_class() -> None:
    result = matrix([thing(1, 1, A)], [found(1, 1, A, 0.8), found(1, 2, (0, 0, 40, 30), 0.9)])
    assert result.counts == ((0, 1, 0), (0, 0, 0), (1, 0, 0))


def test_detection_takes_the_object_with_the_highest_iou_whatever_its_class() -> None:
    # IoU 0.75 with the object of its class, 1 with the other
    objects = [thing(1, 1, (0, 0, 40, 30)), thing(1, 2, A)]
    assert matrix(objects, [found(1, 1, A, 0.9)]).counts == ((0, 0, 1), (1, 0, 0), (0, 0, 0))


def test_detection_takes_the_next_object_if_the_best_is_taken() -> None:
    objects = [thing(1, 1, A), thing(1, 2, (0, 0, 40, 30))]
    results = [found(1, 1, A, 0.9), found(1, 2, (0, 0, 40, 38), 0.8)]
    assert matrix(objects, results).counts == ((1, 0, 0), (0, 1, 0), (0, 0, 0))


def test_second_detection_of_an_object_is_false() -> None:
    assert matrix([thing(1, 1, A)], [found(1, 1, A, 0.9), found(1, 1, A, 0.8)]).counts == ((1, 0), (1, 0))


def test_iou_of_exactly_half_matches() -> None:
    assert matrix([thing(1, 1, A)], [found(1, 1, (0, 0, 40, 20), 0.9)]).counts == ((1, 0), (0, 0))


def test_detection_on_a_crowd_of_its_class_counts_nowhere() -> None:
    objects = [thing(1, 1, (100, 100, 90, 90), crowd=True), thing(1, 1, A)]
    results = [found(1, 1, (110, 110, 20, 20), 0.9), found(1, 2, (110, 110, 20, 20), 0.9), found(1, 1, A, 0.8)]
    assert matrix(objects, results).counts == ((1, 0, 0), (0, 0, 0), (0, 1, 0))


def test_of_one_class_in_one_image_the_100_best_detections_count() -> None:
    results = [found(1, 1, AWAY, 0.9) for _ in range(101)]
    assert matrix([], [*results, found(1, 2, AWAY, 0.5)]).counts == ((0, 0, 0), (0, 0, 0), (100, 1, 0))


def test_classes_that_do_not_occur_are_left_out() -> None:
    assert matrix([thing(1, 2, A)], [found(1, 2, A, 0.9), found(1, 1, AWAY, 0.4)]).names == ("two",)


def test_neither_objects_nor_detections() -> None:
    result = matrix([], [])
    assert (result.names, result.counts, result.normalized) == ((), ((0,),), (None,))


def test_interval_is_that_of_the_largest_confusion_in_its_row() -> None:
    objects = [thing(1, 1, A), thing(1, 2, B), thing(2, 1, A), thing(3, 2, B), thing(3, 2, A)]
    results = [found(1, 1, A, 0.9), found(1, 1, B, 0.8), found(2, 2, AWAY, 0.7), found(3, 2, B, 0.6)]
    assert matrix(objects, results).interval == wilson_interval(1, 3)
    # one confusion of each class: that of the class with fewer objects has the larger share
    assert matrix(objects, [*results, found(2, 2, A, 0.9)]).interval == wilson_interval(1, 2)


def test_without_a_confusion_there_is_no_interval() -> None:
    assert matrix([thing(1, 1, A)], [found(1, 1, A, 0.9), found(1, 2, B, 0.8)]).interval is None
