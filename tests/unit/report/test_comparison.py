"""Arrays of detections and objects, and their overlaps."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.report.scenes import found, random_scene, thing, truth

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.report.comparison import SMALLEST_IOU, compare, evaluated_images

A = (0, 0, 40, 40)


def test_detections_are_sorted_by_image_then_by_score_and_ties_by_their_order() -> None:
    results = [found(2, 1, A, 0.5), found(1, 1, A, 0.3), found(1, 2, A, 0.9), found(1, 2, A, 0.3)]
    detections = evaluated_images(results, truth(), [1, 2]).detections
    assert detections.index.tolist() == [2, 1, 3, 0]
    assert detections.images.tolist() == [0, 0, 0, 1]
    assert detections.scores.tolist() == [0.9, 0.3, 0.3, 0.5]
    assert detections.categories.tolist() == [1, 0, 1, 0]


def test_ranks_count_better_detections_of_the_image_and_of_the_class() -> None:
    results = [found(1, 1, A, 0.9), found(1, 2, A, 0.8), found(1, 1, A, 0.7), found(2, 1, A, 0.6)]
    detections = evaluated_images(results, truth(), [1, 2]).detections
    assert detections.rank.tolist() == [0, 1, 2, 0]
    assert detections.class_rank.tolist() == [0, 0, 1, 0]


def test_detections_of_other_images_and_of_unknown_categories_are_left_out() -> None:
    results = [found(1, 1, A, 0.9), found(3, 1, A, 0.8), found(1, 7, A, 0.7)]
    assert evaluated_images(results, truth(), [1, 2]).detections.index.tolist() == [0]


def test_objects_of_other_images_are_left_out() -> None:
    evaluated = evaluated_images([], truth(thing(3, 1, A), thing(2, 1, A), thing(1, 1, A)), [2, 1])
    assert [evaluated.annotations[row]["image_id"] for row in evaluated.annotated] == [1, 2]
    assert compare(evaluated, "bbox").objects.images.tolist() == [0, 1]


def test_images_are_sorted_and_duplicates_count_once() -> None:
    assert evaluated_images([], truth(), [3, 1, 3]).image_ids == (1, 3)


def test_image_that_the_annotations_do_not_have_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"valJsonFile: no image with id 4, which was evaluated"):
        evaluated_images([], truth(), [1, 4])


def test_pairs_have_the_iou_of_boxes_or_masks() -> None:
    # the mask of the detection is half as large as its box
    result = found(1, 1, (0, 0, 40, 20), 0.9) | {"bbox": list(A)}
    evaluated = evaluated_images([result], truth(thing(1, 1, A)), [1])
    assert compare(evaluated, "bbox").pairs.ious.tolist() == [1.0]
    assert compare(evaluated, "segm").pairs.ious.tolist() == [0.5]


def test_pairs_are_sorted_by_detection_then_by_descending_iou() -> None:
    objects = [thing(1, 1, (0, 0, 40, 20)), thing(1, 2, A)]
    results = [found(1, 1, A, 0.9), found(1, 1, (0, 0, 40, 20), 0.8)]
    pairs = compare(evaluated_images(results, truth(*objects), [1]), "bbox").pairs
    assert list(zip(pairs.detections.tolist(), pairs.objects.tolist(), pairs.ious.tolist(), strict=True)) == [
        (0, 1, 1.0), (0, 0, 0.5), (1, 0, 1.0), (1, 1, 0.5),
    ]  # fmt: skip
    assert pairs.same_class.tolist() == [False, True, True, False]


def test_pairs_below_the_smallest_iou_are_left_out() -> None:
    ground_truth, results = random_scene(0)
    pairs = compare(evaluated_images(results, ground_truth, ground_truth.image_ids), "bbox").pairs
    assert 0 < len(pairs.ious) < 1000
    assert pairs.ious.min() >= SMALLEST_IOU


def test_crowds_are_no_objects_and_are_compared_by_the_area_of_the_detection() -> None:
    objects = [thing(1, 1, (0, 0, 100, 100), crowd=True), thing(1, 1, A)]
    results = [found(1, 1, (80, 0, 40, 40), 0.9), found(1, 2, (0, 0, 10, 10), 0.8)]
    comparison = compare(evaluated_images(results, truth(*objects), [1]), "bbox")
    assert comparison.objects.index.tolist() == [1]
    assert comparison.crowd_ious.tolist() == [0.5, 0.0]


def test_object_without_mask_counts_for_boxes_only() -> None:
    objects = [thing(1, 1, A, mask=False), thing(1, 1, (100, 0, 40, 40))]
    evaluated = evaluated_images([found(1, 1, (100, 0, 40, 40), 0.9)], truth(*objects), [1])
    assert compare(evaluated, "bbox").objects.index.tolist() == [0, 1]
    masks = compare(evaluated, "segm")
    assert masks.objects.index.tolist() == [1]
    assert masks.pairs.objects.tolist() == [0]


def test_areas_are_those_of_masks_or_boxes() -> None:
    evaluated = evaluated_images([], truth(thing(1, 1, A) | {"area": 700}), [1])
    np.testing.assert_array_equal(compare(evaluated, "segm").objects.areas, [700.0])
    np.testing.assert_array_equal(compare(evaluated, "bbox").objects.areas, [1600.0])


def test_neither_objects_nor_detections() -> None:
    comparison = compare(evaluated_images([], truth(), [1]), "segm")
    assert (len(comparison.pairs.ious), len(comparison.objects.images), len(comparison.crowd_ious)) == (0, 0, 0)
