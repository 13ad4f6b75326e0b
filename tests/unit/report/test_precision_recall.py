"""Precision over recall, compared with the array that pycocotools computes."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tests.unit.report.scenes import found, random_scene, thing, truth

from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.report.comparison import compare, evaluated_images
from maskrcnn_trainer.report.content import Kind, PrecisionRecall
from maskrcnn_trainer.report.matching import coco_matches
from maskrcnn_trainer.report.precision_recall import precision_recall

A, AWAY = (0, 0, 40, 40), (150, 150, 40, 40)


def curves(
    ground_truth: GroundTruth, results: list[dict[str, Any]], iou: float = 0.5, kind: Kind = "bbox"
) -> PrecisionRecall:
    evaluated = evaluated_images(results, ground_truth, ground_truth.image_ids)
    comparison = compare(evaluated, kind)
    return precision_recall(comparison, coco_matches(comparison, iou), iou, evaluated.category_ids)


def precision_by_pycocotools(ground_truth: GroundTruth, results: list[dict[str, Any]], kind: Kind) -> Any:
    """Return the array [IoU thresholds, recalls, categories, areas, limits]."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": list(ground_truth.images.values()),
            "categories": [{"id": category} for category in ground_truth.category_names],
            "annotations": [dict(one) for one in ground_truth.annotations],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes([dict(result) for result in results]), kind)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(("iou", "number"), [(0.5, 0), (0.75, 5)])
@pytest.mark.parametrize("seed", [1, 2])
def test_curves_equal_pycocotools(seed: int, iou: float, number: int, kind: Kind, ties: bool) -> None:
    ground_truth, results = random_scene(seed, ties=ties)
    for result in results:  # whole pixels, so that overlaps are equal, too
        result["bbox"] = [float(round(value)) for value in result["bbox"]]
    expected = precision_by_pycocotools(ground_truth, results, kind)[number, :, :, 0, 2]
    result = curves(ground_truth, results, iou, kind)
    assert result.iou == iou
    assert sorted(result.by_class) == [1, 2, 3, 4, 5]
    for category, curve in result.by_class.items():
        np.testing.assert_array_equal(curve, expected[:, category - 1])
    np.testing.assert_allclose(result.overall, expected.mean(axis=1), rtol=0, atol=1e-12)


def test_one_of_two_objects_found_after_a_false_detection() -> None:
    results = [found(1, 1, AWAY, 0.9), found(1, 1, A, 0.8)]
    result = curves(truth(thing(1, 1, A), thing(2, 1, A)), results)
    assert result.by_class[1] == pytest.approx(51 * [0.5] + 50 * [0.0])


def test_class_without_objects_has_no_curve_and_does_not_count() -> None:
    result = curves(truth(thing(1, 1, A)), [found(1, 1, A, 0.9), found(1, 2, AWAY, 0.9)])
    assert list(result.by_class) == [1]
    assert result.overall == pytest.approx(101 * [1.0])


def test_class_without_detections_has_precision_0() -> None:
    assert curves(truth(thing(1, 1, A)), []).by_class[1] == tuple(101 * [0.0])


def test_no_objects_at_all() -> None:
    assert curves(truth(), [found(1, 1, A, 0.9)]) == PrecisionRecall(0.5, None, {})
