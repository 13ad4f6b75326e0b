"""Matches by COCO's rule."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.report.scenes import found, thing, truth

from maskrcnn_trainer.report.comparison import compare, evaluated_images
from maskrcnn_trainer.report.matching import coco_matches

A = (0, 0, 40, 40)


def outcomes(objects: list[dict[str, Any]], results: list[dict[str, Any]], iou: float = 0.5) -> str:
    """Return a letter for each result: T is true, F is false, - counts nowhere."""
    ground_truth = truth(*objects)
    comparison = compare(evaluated_images(results, ground_truth, ground_truth.image_ids), "bbox")
    matches = coco_matches(comparison, iou)
    letters = {
        int(index): "T" if hit else "F" if false else "-"
        for index, hit, false in zip(comparison.detections.index, matches.hits, matches.false_alarms, strict=True)
    }
    return "".join(letters[number] for number in range(len(results)))


def test_best_detection_of_an_object_is_true_and_the_others_false() -> None:
    results = [found(1, 1, (0, 0, 40, 36), 0.8), found(1, 1, (0, 0, 40, 30), 0.9), found(1, 1, A, 0.7)]
    assert outcomes([thing(1, 1, A)], results) == "FTF"


def test_of_equal_scores_the_first_in_the_file_is_better() -> None:
    assert outcomes([thing(1, 1, A)], [found(1, 1, A, 0.8), found(1, 1, A, 0.8)]) == "TF"


def test_other_class_and_other_image_do_not_match() -> None:
    assert outcomes([thing(1, 1, A)], [found(1, 2, A, 0.9), found(2, 1, A, 0.9)]) == "FF"


@pytest.mark.parametrize(("iou", "expected"), [(0.5, "T"), (0.75, "T"), (0.76, "F")])
def test_iou_at_the_threshold_matches(iou: float, expected: str) -> None:
    assert outcomes([thing(1, 1, A)], [found(1, 1, (0, 0, 40, 30), 0.9)], iou) == expected


def test_of_objects_with_the_same_iou_the_last_is_taken_as_in_pycocotools() -> None:
    # The first detection overlaps both objects equally; the second only reaches the first object.
    objects = [thing(1, 1, (0, 0, 40, 40)), thing(1, 1, (20, 0, 40, 40))]
    results = [found(1, 1, (10, 0, 40, 40), 0.9), found(1, 1, (0, 0, 40, 40), 0.8)]
    assert outcomes(objects, results) == "TT"
    assert outcomes(objects[::-1], results) == "TF"


def test_detection_on_a_crowd_counts_nowhere_however_many_there_are() -> None:
    objects = [thing(1, 1, (0, 0, 100, 100), crowd=True)]
    results = [found(1, 1, A, 0.9), found(1, 1, A, 0.8), found(1, 2, A, 0.7), found(2, 1, A, 0.6)]
    assert outcomes(objects, results) == "--FF"


def test_half_of_a_detection_on_a_crowd_is_enough() -> None:
    objects = [thing(1, 1, (0, 0, 100, 100), crowd=True)]
    assert outcomes(objects, [found(1, 1, (80, 0, 40, 40), 0.9), found(1, 1, (81, 0, 40, 40), 0.9)]) == "-F"


def test_object_has_precedence_over_a_crowd() -> None:
    objects = [thing(1, 1, (0, 0, 100, 100), crowd=True), thing(1, 1, (0, 0, 40, 22))]
    assert outcomes(objects, [found(1, 1, A, 0.9)]) == "T"


def test_of_one_class_in_one_image_the_100_best_detections_count() -> None:
    results = [found(1, 1, A, 0.9 - number / 1000) for number in range(101)]
    assert outcomes([thing(1, 1, A)], [*results, found(1, 2, A, 0.1)]) == "T" + 99 * "F" + "-F"
