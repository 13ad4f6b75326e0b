"""The four lists of images."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.report.scenes import found, thing, truth

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.report.comparison import compare, evaluated_images
from maskrcnn_trainer.report.content import Kind, ShownObject
from maskrcnn_trainer.report.matching import coco_matches
from maskrcnn_trainer.report.shown_images import ShownImages, shown_images

A, B, AWAY = (0, 0, 40, 40), (100, 0, 40, 40), (150, 150, 40, 40)


def shown(
    ground_truth: GroundTruth, results: list[dict[str, Any]], score: float | None = 0.5, kind: Kind = "bbox"
) -> ShownImages:
    evaluated = evaluated_images(results, ground_truth, ground_truth.image_ids)
    comparison = compare(evaluated, kind)
    names = {1: "one", 2: "two"}
    return shown_images(evaluated, comparison, coco_matches(comparison, 0.5), score, names)


def test_worst_images_have_the_lowest_f1() -> None:
    objects = [thing(1, 1, A), thing(2, 1, A), thing(2, 1, B), thing(3, 1, A)]
    results = [found(1, 1, A, 0.9), found(2, 1, A, 0.9), found(3, 1, A, 0.4)]
    assert [(one.image_id, one.f1) for one in shown(truth(*objects), results).worst] == [(3, 0.0), (2, 2 / 3), (1, 1.0)]


def test_f1_of_an_image_without_objects_and_detections_is_1() -> None:
    assert [one.f1 for one in shown(truth(images=1), []).worst] == [1.0]


def test_f1_of_an_image_with_only_a_detection_on_a_crowd_is_1() -> None:
    ground_truth = truth(thing(1, 1, (0, 0, 100, 100), crowd=True), images=1)
    assert [one.f1 for one in shown(ground_truth, [found(1, 1, A, 0.9)]).worst] == [1.0]


def test_equal_f1_goes_by_image_id_and_there_are_twelve() -> None:
    things = [thing(number, 1, A) for number in range(1, 16)]
    assert [one.image_id for one in shown(truth(*things, images=15), []).worst] == list(range(1, 13))


def test_most_confident_false_detections_come_first_and_ties_go_by_image_id() -> None:
    results = [found(3, 1, AWAY, 0.8), found(2, 1, AWAY, 0.8), found(1, 1, A, 0.95), found(1, 1, AWAY, 0.9)]
    entries = shown(truth(thing(1, 1, A)), results).confident_false
    assert [(one.image_id, one.objects[0].score) for one in entries] == [(1, 0.9), (2, 0.8), (3, 0.8)]
    assert {one.objects[0].role for one in entries} == {"false"}


def test_there_are_twelve_false_detections_at_most() -> None:
    results = [found(1, 1, AWAY, number / 20) for number in range(1, 16)]
    scores = [one.objects[0].score for one in shown(truth(), results).confident_false]
    assert scores == [number / 20 for number in range(15, 3, -1)]


def test_largest_missed_objects_come_first_and_ties_go_by_image_id() -> None:
    objects = [thing(3, 1, A), thing(2, 1, (0, 0, 50, 50)), thing(1, 1, A), thing(1, 2, (50, 50, 140, 140))]
    results = [found(1, 2, (50, 50, 140, 140), 0.9)]
    entries = shown(truth(*objects), results).missed
    assert [(one.image_id, one.objects[0].index) for one in entries] == [(2, 2), (1, 0), (3, 3)]
    assert {one.objects[0].role for one in entries} == {"missed"}


def test_object_that_is_found_below_the_score_only_is_missed() -> None:
    entries = shown(truth(thing(1, 1, A)), [found(1, 1, A, 0.4)]).missed
    assert [(one.image_id, one.objects) for one in entries] == [
        (1, (ShownObject("missed", 1, "one", None, (0.0, 0.0, 40.0, 40.0), 0),))
    ]


def test_size_of_a_mask_is_that_of_the_annotation() -> None:
    objects = [thing(1, 1, A) | {"area": 10}, thing(2, 1, (0, 0, 20, 20))]
    assert [one.image_id for one in shown(truth(*objects), [], kind="segm").missed] == [2, 1]
    assert [one.image_id for one in shown(truth(*objects), [], kind="bbox").missed] == [1, 2]


def test_crowds_are_neither_missed_nor_shown() -> None:
    lists = shown(truth(thing(1, 1, A, crowd=True), images=1), [])
    assert lists.missed == ()
    assert lists.worst[0].objects == ()


def test_detection_on_a_crowd_is_not_shown() -> None:
    ground_truth = truth(thing(1, 1, (0, 0, 100, 100), crowd=True), images=1)
    lists = shown(ground_truth, [found(1, 1, A, 0.9)])
    assert lists.confident_false == ()
    assert lists.worst[0].objects == ()


def test_detection_at_the_score_is_shown_and_counts() -> None:
    (image,) = shown(truth(thing(1, 1, A), images=1), [found(1, 1, A, 0.5)], score=0.5).worst
    assert ([one.role for one in image.objects], image.f1) == (["true", "object"], 1.0)


def test_random_images_are_the_same_in_each_run_and_differ() -> None:
    first, second = (shown(truth(images=40), []).random for _ in range(2))
    assert first == second
    ids = [int(one.image_id) for one in first]
    assert ids == sorted(set(ids))
    assert len(ids) == 12
    assert ids != list(range(1, 13))


def test_with_fewer_than_twelve_images_all_are_random() -> None:
    assert [one.image_id for one in shown(truth(images=3), []).random] == [1, 2, 3]


def test_image_shows_all_objects_and_the_detections_from_the_score_on() -> None:
    objects = [thing(1, 1, A), thing(1, 2, B)]
    results = [found(1, 2, AWAY, 0.6), found(1, 1, A, 0.9), found(1, 1, AWAY, 0.4)]
    (image,) = shown(truth(*objects, images=1), results).worst
    assert image.objects == (
        ShownObject("true", 1, "one", 0.9, (0.0, 0.0, 40.0, 40.0), 1),
        ShownObject("false", 2, "two", 0.6, (150.0, 150.0, 40.0, 40.0), 0, "Bkg"),
        ShownObject("object", 1, "one", None, (0.0, 0.0, 40.0, 40.0), 0),
        ShownObject("missed", 2, "two", None, (100.0, 0.0, 40.0, 40.0), 1),
    )
    assert image.f1 == pytest.approx(2 / 4)
    assert image.picture is None


@pytest.mark.parametrize(
    ("category", "box", "error", "other"),
    [
        (2, A, "Cls", "one"),
        (1, (0, 25, 40, 40), "Loc", None),
        (2, (0, 25, 40, 40), "Both", "one"),
        (1, A, "Dupe", None),
        (1, AWAY, "Bkg", None),
    ],
)
def test_false_detection_has_the_type_of_its_error(
    category: int, box: tuple[int, ...], error: str, other: str | None
) -> None:
    results = [found(1, 1, A, 0.9), found(1, category, box, 0.8)]
    (entry,) = shown(truth(thing(1, 1, A)), results).confident_false
    assert [(one.error, one.other_class) for one in entry.objects] == [(error, other), (None, None), (None, None)]


def test_what_put_an_image_into_its_list_is_first_and_not_repeated() -> None:
    results = [found(1, 1, A, 0.9), found(1, 1, AWAY, 0.6)]
    (entry,) = shown(truth(thing(1, 1, A), images=1), results).confident_false
    assert [one.role for one in entry.objects] == ["false", "true", "object"]


def test_false_detection_below_the_score_is_shown_in_its_list() -> None:
    (entry,) = shown(truth(images=1), [found(1, 1, AWAY, 0.1)]).confident_false
    assert [one.score for one in entry.objects] == [0.1]


def test_nothing_detected() -> None:
    lists = shown(truth(thing(1, 1, A)), [], score=None)
    assert lists.confident_false == ()
    assert [(one.image_id, one.f1) for one in lists.worst] == [(1, 0.0), (2, 1.0), (3, 1.0)]
    assert [one.image_id for one in lists.missed] == [1]
