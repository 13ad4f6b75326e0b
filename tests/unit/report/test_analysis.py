"""Analysis of whole evaluations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.evaluation.coco import evaluate_coco
from tests.unit.report.scenes import found, random_scene, thing, truth

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.report.analysis import analyze, contradiction
from maskrcnn_trainer.report.content import Evaluation, Experiment, Report

A, B = (0, 0, 40, 40), (100, 0, 40, 40)


def analyzed(
    ground_truth: GroundTruth, results: list[dict[str, Any]], image_ids: Iterable[int] | None = None
) -> Evaluation:
    seen = ground_truth.image_ids if image_ids is None else list(image_ids)
    metrics = evaluate_coco(ground_truth, results, seen, kinds=("bbox", "segm") if has_masks(results) else ("bbox",))
    return analyze(
        results, ground_truth, seen,
        metrics=metrics.values, class_metrics=metrics.per_class, step="evaluate", model="model.tlt",
    )  # fmt: skip


def has_masks(results: list[dict[str, Any]]) -> bool:
    return all("segmentation" in result for result in results)


@pytest.mark.parametrize("seed", [3, 4])
def test_ap_on_the_page_equals_metrics_json(seed: int) -> None:
    ground_truth, results = random_scene(seed)
    seen = [image for image in ground_truth.image_ids if int(image) % 3]
    metrics = evaluate_coco(ground_truth, results, seen)
    page = analyzed(ground_truth, results, seen)
    assert page.metrics == metrics.values
    assert {one.category: one.metrics for one in page.classes} == metrics.per_class
    # What is computed from the detections again has the same values.
    at_half, strict = page.precision_recall
    assert np.mean(at_half.overall) == pytest.approx(metrics.values["mask_AP50"], abs=1e-12)
    assert np.mean(strict.overall) == pytest.approx(metrics.values["mask_AP75"], abs=1e-12)
    for category, curve in at_half.by_class.items():
        assert np.mean(curve) == pytest.approx(metrics.per_class[category]["mask_AP50"], abs=1e-12)
    boxes, masks = page.errors
    assert boxes.ap50 == pytest.approx(100 * metrics.values["AP50"], abs=1e-10)
    assert masks.ap50 == pytest.approx(100 * metrics.values["mask_AP50"], abs=1e-10)


@pytest.mark.parametrize("mask", [True, False])
def test_ap50_of_another_annotation_file_is_reported(mask: bool) -> None:
    results = [found(1, 1, A, 0.9, mask=mask)]
    page = analyzed(truth(thing(1, 1, A)), results)
    assert contradiction(page) is None
    other = analyze(
        results, truth(thing(1, 1, A), thing(2, 1, A)), [1, 2, 3],
        metrics=page.metrics, class_metrics={}, step="evaluate", model="model.tlt",
    )  # fmt: skip
    name = "mask_AP50" if mask else "AP50"
    assert f"{name} in metrics.json is 1.0000, but the detections have 0.5050 on" in (contradiction(other) or "")


def test_changed_boxes_are_reported_though_masks_decide() -> None:
    results = [found(1, 1, A, 0.9, mask=True)]
    page = analyzed(truth(thing(1, 1, A)), results)
    changed = truth(thing(1, 1, A))
    for annotation in changed.annotations:
        annotation["bbox"] = [0, 0, 1, 1]
    other = analyze(results, changed, [1, 2, 3], metrics=page.metrics, class_metrics={}, step="evaluate", model="m.tlt")
    assert (contradiction(other) or "").startswith("AP50 in metrics.json is 1.0000, but the detections have 0.0000")


def test_ap50_of_a_class_is_compared() -> None:
    page = analyzed(truth(thing(1, 1, A)), [found(1, 1, A, 0.9, mask=True)])
    (first, *others) = page.classes
    changed = replace(page, classes=(replace(first, metrics={"mask_AP50": 0.25}), *others))
    assert f"mask_AP50 of {first.name} in metrics.json is 0.2500" in (contradiction(changed) or "")


def test_undefined_and_missing_ap50_are_not_contradicted() -> None:
    assert contradiction(analyzed(truth(), [found(1, 1, A, 0.9)])) is None
    page = analyze([], truth(thing(1, 1, A)), [1], metrics={}, class_metrics={}, step="evaluate", model="model.tlt")
    assert contradiction(page) is None


def test_counts_cover_the_evaluated_images_alone() -> None:
    objects = [thing(1, 1, A), thing(2, 1, A), thing(2, 2, B), thing(2, 2, A, crowd=True)]
    results = [found(1, 1, A, 0.9), found(2, 1, A, 0.8), found(2, 2, B, 0.7)]
    page = analyzed(truth(*objects), results, [2, 3])
    assert (page.images, page.objects, page.detections) == (2, 2, 2)
    assert [(one.name, one.objects, one.detections) for one in page.classes] == [("one", 1, 1), ("two", 1, 1)]
    assert {one.image_id for one in page.random} == {2, 3}


def test_masks_decide_where_boxes_and_masks_differ() -> None:
    # the boxes are equal, the mask of the detection is a quarter of the object's
    result = found(1, 1, (0, 0, 20, 20), 0.9) | {"bbox": list(A)}
    page = analyzed(truth(thing(1, 1, A)), [result])
    assert page.kind == "segm"
    assert page.operating_point.best_f1 == 0.0
    assert [one.kind for one in page.errors] == ["bbox", "segm"]
    assert [one.counts["Loc"] for one in page.errors] == [0, 1]


@pytest.mark.parametrize(("of_objects", "of_detections"), [(False, True), (True, False), (False, False)])
def test_without_masks_boxes_decide(of_objects: bool, of_detections: bool) -> None:
    page = analyzed(truth(thing(1, 1, A, mask=of_objects)), [found(1, 1, A, 0.9, mask=of_detections)])
    assert page.kind == "bbox"
    assert [one.kind for one in page.errors] == ["bbox"]
    assert page.operating_point.best_f1 == 1.0


def test_counts_are_pooled_over_classes() -> None:
    objects = [thing(1, 1, A), thing(1, 2, B)]
    results = [found(1, 1, A, 0.9), found(1, 2, A, 0.8), found(1, 2, B, 0.7)]
    page = analyzed(truth(*objects), results)
    assert (page.operating_point.best_score, page.operating_point.best_f1) == (0.7, 4 / 5)
    one, two = page.classes
    assert (one.operating_point.best_score, one.operating_point.best_f1) == (0.9, 1.0)
    assert (two.operating_point.best_score, two.operating_point.best_f1) == (0.7, 2 / 3)
    assert (one.f1_gain, two.f1_gain) == (0.0, 0.0)
    assert [(one.detections, one.precision) for one in page.reliability[7:]] == [(1, 1.0), (1, 0.0), (1, 1.0)]


def test_confusion_matrix_has_the_detections_from_the_best_score_on() -> None:
    objects = [thing(1, 1, A), thing(1, 2, B)]
    results = [found(1, 1, A, 0.9), found(1, 2, B, 0.8), found(1, 1, B, 0.3)]
    page = analyzed(truth(*objects), results)
    assert page.confusion is not None
    assert page.confusion.score == page.operating_point.best_score == 0.8
    assert page.confusion.counts == ((1, 0, 0), (0, 1, 0), (0, 0, 0))


def test_nothing_detected() -> None:
    page = analyzed(truth(thing(1, 1, A)), [])
    assert page.confusion is None
    assert page.operating_point.best_score is None
    assert page.classes[0].operating_point.best_f1 == 0.0
    assert [one.lost["Miss"] for one in page.errors] == [100.0, 100.0]
    assert {one.detections for one in page.reliability} == {0}
    assert page.confident_false == ()


def test_no_objects() -> None:
    page = analyzed(truth(), [found(1, 1, A, 0.9)])
    assert page.metrics["AP"] == -1.0
    assert page.precision_recall[0].overall is None
    assert page.errors[0].ap50 is None
    assert page.operating_point.best_f1 == 0.0


def test_class_without_a_name_is_called_by_its_id() -> None:
    ground_truth = truth(thing(1, 1, A))
    ground_truth.category_names[2] = ""
    assert [one.name for one in analyzed(ground_truth, []).classes] == ["one", "2"]


def test_class_that_metrics_json_does_not_have_has_no_metrics() -> None:
    page = analyze([], truth(), [1], metrics={}, class_metrics={1: {"AP": -1.0}}, step="evaluate", model="model.tlt")
    assert [one.metrics for one in page.classes] == [{"AP": -1.0}, {}]


def test_content_is_json() -> None:
    page = analyzed(*random_scene(5, images=20))
    report = Report("title", "2026-01-01", "1", (Experiment("name", None, (), {}, (), (), page),))
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["experiments"][0]["evaluation"]["step"] == "evaluate"


def test_class_gains_f1_from_its_own_score() -> None:
    objects = [thing(image, 1, A) for image in range(1, 4)] + [thing(1, 2, B)]
    results = [found(image, 1, A, 0.9) for image in range(1, 4)] + [found(2, 2, B, 0.7), found(1, 2, B, 0.5)]
    results += [found(image, 1, B, 0.6) for image in range(1, 4)]
    page = analyzed(truth(*objects), results)
    assert page.operating_point.best_score == 0.9
    assert [one.f1_gain for one in page.classes] == [0.0, 2 / 3]


def test_largest_number_of_detections_in_an_image_is_counted() -> None:
    results = [found(image, 1, box, 0.1) for image in (1, 2) for box in (A, B)] + [found(3, 1, A, 0.9)]
    page = analyzed(truth(thing(1, 1, A)), results)
    assert (page.most_detections, page.images_with_most) == (2, 2)
    page = analyzed(truth(thing(1, 1, A)), [])
    assert (page.most_detections, page.images_with_most) == (0, 0)


def test_scores_that_are_too_high_are_found() -> None:
    page = analyzed(truth(thing(1, 1, A)), [found(1, 1, B, 0.65) for _ in range(20)])
    assert page.score_errors is not None
    (one,) = page.score_errors
    assert (one.low, one.high, one.detections, one.excess) == (0.6, 0.7, 20, pytest.approx(0.65))
