"""Errors by type, and the AP that each costs, of manually computed scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.scenes import found, thing, truth

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.report.comparison import Comparison, compare, evaluated_images
from maskrcnn_trainer.report.content import Errors, ErrorType, Kind
from maskrcnn_trainer.report.matching import coco_matches
from maskrcnn_trainer.report.tide import errors

# Class one: two objects are found, one is detected at a wrong place, one as class two. Class two: one of two is found.
OBJECTS = (
    thing(1, 1, (0, 0, 40, 40)),
    thing(1, 1, (100, 0, 40, 40)),
    thing(1, 1, (0, 100, 40, 40)),
    thing(1, 1, (60, 60, 30, 30)),
    thing(1, 2, (100, 100, 40, 40)),
    thing(1, 2, (170, 0, 30, 30)),
)
DETECTIONS = [
    found(1, 1, (0, 0, 40, 40), 0.9),
    found(1, 1, (0, 0, 40, 38), 0.8),  # Dupe
    found(1, 1, (120, 0, 40, 40), 0.7),  # Loc: IoU 1/3
    found(1, 2, (0, 100, 40, 40), 0.6),  # Cls
    found(1, 2, (100, 20, 40, 40), 0.5),  # Both: IoU 1/3 with an object of class one
    found(1, 1, (160, 160, 30, 30), 0.4),  # Bkg
    found(1, 1, (60, 60, 30, 30), 0.3),
    found(1, 2, (100, 100, 40, 40), 0.2),
]
# Sums of precision over the 101 recalls. Class one has 4 objects, so a recall of 1/4 is reached at 26 recalls, 2/4 at
# 25 more; class two has 2 objects, and 1/2 is reached at 51.
BEFORE = {1: 26 + 25 * 2 / 5, 2: 51 / 3}
AFTER: dict[ErrorType, dict[int, float]] = {
    "Cls": {1: 26 + 25 * 2 / 4 + 25 * 3 / 6, 2: 51 / 2},
    "Loc": {1: 26 + 25 * 2 / 3 + 25 * 3 / 5, 2: BEFORE[2]},
    "Both": {1: BEFORE[1], 2: 51 / 2},
    "Dupe": {1: 26 + 25 * 2 / 4, 2: BEFORE[2]},
    "Bkg": {1: 26 + 25 * 2 / 4, 2: BEFORE[2]},
    "Miss": {1: BEFORE[1], 2: 101 / 3},
}


def compared(ground_truth: GroundTruth, results: list[dict[str, Any]], kind: Kind = "bbox") -> Comparison:
    return compare(evaluated_images(results, ground_truth, ground_truth.image_ids), kind)


def errors_of(ground_truth: GroundTruth, results: list[dict[str, Any]], kind: Kind = "bbox") -> Errors:
    comparison = compared(ground_truth, results, kind)
    return errors(comparison, coco_matches(comparison, 0.5), sorted(ground_truth.category_names))


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("error", list(AFTER))
def test_cost_of_each_type_is_the_ap_gained_by_correcting_it(error: ErrorType, kind: Kind) -> None:
    result = errors_of(truth(*OBJECTS), DETECTIONS, kind)
    gains = {category: 100 * (AFTER[error][category] - BEFORE[category]) / 101 for category in (1, 2)}
    assert result.kind == kind
    assert result.lost[error] == pytest.approx(sum(gains.values()) / 2)
    assert {category: lost[error] for category, lost in result.by_class.items()} == pytest.approx(gains)


def test_base_is_the_mean_ap_over_classes() -> None:
    assert errors_of(truth(*OBJECTS), DETECTIONS).ap50 == pytest.approx(100 * (BEFORE[1] + BEFORE[2]) / 2 / 101)


def test_each_error_has_one_type() -> None:
    assert errors_of(truth(*OBJECTS), DETECTIONS).counts == dict.fromkeys(AFTER, 1)


def test_cost_of_all_false_detections_and_of_all_objects_not_found() -> None:
    result = errors_of(truth(*OBJECTS), DETECTIONS)
    without_false = {1: 51, 2: 51}
    only_found = {1: 51 + 50 * 2 / 5, 2: 101 / 3}
    base = sum(BEFORE.values())
    assert result.false_positives == pytest.approx(100 * (sum(without_false.values()) - base) / 2 / 101)
    assert result.false_negatives == pytest.approx(100 * (sum(only_found.values()) - base) / 2 / 101)


def test_the_order_of_detections_in_the_file_is_irrelevant() -> None:
    assert errors_of(truth(*OBJECTS), DETECTIONS[::-1]) == errors_of(truth(*OBJECTS), DETECTIONS)


def test_of_several_errors_at_one_object_the_best_is_corrected_and_the_others_removed() -> None:
    # Class one: F F F T with one object more, at which the first two are aimed.
    objects = (thing(1, 1, (0, 0, 40, 40)), thing(1, 1, (100, 100, 40, 40)))
    detections = [
        found(1, 1, (20, 0, 40, 40), 0.9),
        found(1, 1, (0, 20, 40, 40), 0.8),
        found(1, 1, (160, 10, 30, 30), 0.7),
        found(1, 1, (100, 100, 40, 40), 0.6),
    ]
    result = errors_of(truth(*objects), detections)
    assert (result.counts["Loc"], result.counts["Miss"]) == (2, 0)
    # afterwards: T F T
    assert result.lost["Loc"] == pytest.approx(100 * (51 + 50 * 2 / 3 - 51 / 4) / 101)


def test_error_at_an_object_that_is_found_is_removed() -> None:
    objects = (thing(1, 1, (0, 0, 40, 40)), thing(1, 1, (100, 100, 40, 40)))
    detections = [
        found(1, 1, (0, 0, 40, 40), 0.9),
        found(1, 1, (20, 0, 40, 40), 0.8),
        found(1, 1, (100, 100, 40, 40), 0.6),
    ]
    result = errors_of(truth(*objects), detections)
    assert result.counts["Loc"] == 1
    assert result.lost["Loc"] == pytest.approx(100 * (101 - 51 - 50 * 2 / 3) / 101)


def test_detection_on_a_crowd_is_no_error_and_costs_nothing() -> None:
    objects = (thing(1, 1, (0, 0, 40, 40)), thing(1, 1, (100, 100, 90, 90), crowd=True))
    detections = [found(1, 1, (110, 110, 20, 20), 0.9), found(1, 1, (0, 0, 40, 40), 0.8)]
    result = errors_of(truth(*objects), detections)
    assert result.ap50 == pytest.approx(100)
    assert set(result.counts.values()) == {0}
    assert set(result.lost.values()) == {0.0}
    assert (result.false_positives, result.false_negatives) == (0.0, 0.0)


def test_crowd_is_not_missed() -> None:
    result = errors_of(truth(thing(1, 1, (0, 0, 40, 40)), thing(1, 1, (100, 100, 90, 90), crowd=True)), [])
    assert result.counts["Miss"] == 1


def test_nothing_detected_is_all_missed() -> None:
    result = errors_of(truth(thing(1, 1, (0, 0, 40, 40)), thing(2, 2, (0, 0, 40, 40))), [])
    assert (result.ap50, result.lost["Miss"], result.counts["Miss"]) == (0.0, 100.0, 2)
    assert result.by_class == {
        1: dict.fromkeys(AFTER, 0.0) | {"Miss": 100.0},
        2: dict.fromkeys(AFTER, 0.0) | {"Miss": 100.0},
    }


def test_class_without_objects_is_left_out_of_the_mean() -> None:
    # its detection is a Cls error, which moves to the class of the object
    result = errors_of(truth(thing(1, 1, (0, 0, 40, 40))), [found(1, 2, (0, 0, 40, 40), 0.9)])
    assert (result.ap50, result.lost["Cls"], list(result.by_class)) == (0.0, pytest.approx(100), [1])


def test_no_objects_at_all() -> None:
    result = errors_of(truth(), [found(1, 1, (0, 0, 40, 40), 0.9)])
    assert (result.ap50, result.by_class, result.counts["Bkg"]) == (None, {}, 1)
    assert (result.false_positives, result.false_negatives, set(result.lost.values())) == (0.0, 0.0, {0.0})


def test_neither_objects_nor_detections() -> None:
    result = errors_of(truth(), [])
    assert (result.ap50, set(result.counts.values())) == (None, {0})


def test_equal_scores_are_ordered_as_in_tidecv() -> None:
    # In corrected curves false detections precede true ones of the same score.
    objects = (thing(1, 1, (0, 0, 40, 40)), thing(1, 1, (100, 100, 40, 40)))
    true_then_false = [found(1, 1, (0, 0, 40, 40), 0.9), found(1, 1, (160, 10, 30, 30), 0.9)]
    localized = errors_of(truth(*objects), [*true_then_false, found(1, 1, (120, 100, 40, 40), 0.8)])
    assert localized.lost["Loc"] == pytest.approx(100 * (101 * 2 / 3 - 51) / 101)
    assert errors_of(truth(*objects), true_then_false).lost["Miss"] == 0.0


def test_class_of_which_only_false_detections_are_left_keeps_ap_0() -> None:
    objects = (thing(1, 1, (0, 0, 40, 40)), thing(1, 2, (100, 100, 40, 40)))
    detections = [found(1, 1, (0, 0, 40, 40), 0.9), found(1, 2, (160, 10, 30, 30), 0.8)]
    result = errors_of(truth(*objects), detections)
    assert (result.counts["Miss"], result.lost["Miss"], result.by_class[2]["Miss"]) == (1, 0.0, 0.0)


def test_class_of_which_nothing_is_left_is_left_out_of_the_corrected_mean() -> None:
    objects = (thing(1, 1, (0, 0, 40, 40)), thing(1, 2, (100, 100, 40, 40)))
    result = errors_of(truth(*objects), [found(1, 1, (0, 0, 40, 40), 0.9)])
    assert (result.ap50, result.lost["Miss"]) == pytest.approx((50, 50))
    assert (result.by_class[1]["Miss"], result.by_class[2]["Miss"]) == (0.0, 100.0)


def test_costs_are_read_at_exact_recalls_and_the_base_at_those_of_pycocotools() -> None:
    # 57 of 100 objects are found: pycocotools' recall 0.57 is slightly larger and not reached.
    boxes = [(20 * (number % 10), 20 * (number // 10), 18, 18) for number in range(100)]
    detections = [found(1, 1, box, 0.9 - number / 1000) for number, box in enumerate(boxes[:57])]
    result = errors_of(truth(*(thing(1, 1, box) for box in boxes)), detections)
    assert result.ap50 == pytest.approx(100 * 57 / 101)
    assert result.lost["Miss"] == pytest.approx(100 * (1 - 58 / 101))


def test_only_the_100_best_detections_of_an_image_count() -> None:
    others = [found(1, 2, (160, 160, 30, 30), 0.9) for _ in range(100)]
    result = errors_of(truth(thing(1, 1, (0, 0, 40, 40))), [*others, found(1, 1, (0, 0, 40, 40), 0.8)])
    assert (result.ap50, result.counts["Bkg"], result.counts["Miss"]) == (0.0, 100, 1)


def test_numbers_recorded_from_tidecv() -> None:
    recorded = json.loads((Path(__file__).parent / "recorded" / "tidecv.json").read_text())
    ground_truth = truth(*recorded["objects"], images=recorded["images"], categories=recorded["categories"])
    result = errors_of(ground_truth, recorded["detections"])
    assert result.ap50 == pytest.approx(recorded["tidecv"]["ap50"])
    assert result.lost == pytest.approx(recorded["tidecv"]["lost"])
    assert result.false_positives == pytest.approx(recorded["tidecv"]["false_positives"])
    assert result.false_negatives == pytest.approx(recorded["tidecv"]["false_negatives"])
    assert min(result.lost.values()) > 0.5
