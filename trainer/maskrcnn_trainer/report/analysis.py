"""Analysis of one evaluation: why its AP is what it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from maskrcnn_trainer.evaluation.coco_metrics import MASK_PREFIX, UNDEFINED, GroundTruth
from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId
from maskrcnn_trainer.report.comparison import Comparison, EvaluatedImages, compare, evaluated_images
from maskrcnn_trainer.report.confusion import confusion
from maskrcnn_trainer.report.content import ClassAnalysis, Evaluation, Kind, PrecisionRecall
from maskrcnn_trainer.report.matching import MATCH_IOU, Matches, coco_matches
from maskrcnn_trainer.report.operating_point import f1_at, operating_point
from maskrcnn_trainer.report.precision_recall import precision_recall, rows_by_category
from maskrcnn_trainer.report.reliability import reliability, score_errors
from maskrcnn_trainer.report.shown_images import shown_images
from maskrcnn_trainer.report.tide import errors

STRICT_IOU = 0.75
ROUNDING = 1e-6


def analyze(
    results: Sequence[CocoResult],
    ground_truth: GroundTruth,
    image_ids: Iterable[ImageId],
    *,
    metrics: Mapping[str, float],
    class_metrics: Mapping[int, Mapping[str, float]],
    step: str,
    model: str,
) -> Evaluation:
    """Return all numbers of one evaluation, and the images to show without their pictures.

    Masks are compared unless no object or not every detection has one; then boxes are.

    Args:
        results: detections in COCO's results format, as in ``detections.json``.
        ground_truth: annotations of at least the evaluated images.
        image_ids: images that the evaluation saw; everything is computed on them alone.
        metrics: ``metrics`` of ``metrics.json``.
        class_metrics: ``AP``, ``AP50``, ``mask_AP``, and ``mask_AP50`` by raw category id, from ``metrics.json``.
        step: name of the evaluation's step, or of its directory.
        model: path of the model.

    Raises:
        InvalidInput: the ground truth doesn't have one of the images.
    """
    evaluated = evaluated_images(results, ground_truth, image_ids)
    names = {category: ground_truth.category_names[category] or str(category) for category in evaluated.category_ids}
    boxes = compare(evaluated, "bbox")
    masks = compare(evaluated, "segm") if has_masks(evaluated) else None
    decisive = boxes if masks is None else masks
    matches = coco_matches(decisive, MATCH_IOU)
    compared = [
        (comparison, matches if comparison is decisive else coco_matches(comparison, MATCH_IOU))
        for comparison in (boxes, masks)
        if comparison is not None
    ]
    at_match_iou = {
        comparison.kind: precision_recall(comparison, found, MATCH_IOU, evaluated.category_ids)
        for comparison, found in compared
    }
    pooled = operating_point(
        decisive.detections.scores, matches.hits, matches.false_alarms, len(decisive.objects.images)
    )
    shown = shown_images(evaluated, decisive, matches, pooled.best_score, names)
    bins = reliability(decisive.detections.scores, matches.hits, matches.false_alarms)
    of_images = np.bincount(decisive.detections.images, minlength=1)
    most = int(of_images.max())
    return Evaluation(
        step=step,
        model=model,
        kind=decisive.kind,
        images=decisive.images,
        objects=len(decisive.objects.images),
        detections=len(decisive.detections.scores),
        metrics=dict(metrics),
        ap50={f"{prefix_of(kind)}AP50": _ap50(curves) for kind, curves in at_match_iou.items()},
        classes=_classes(evaluated, decisive, matches, names, class_metrics, score=pooled.best_score),
        precision_recall=(
            at_match_iou[decisive.kind],
            precision_recall(decisive, coco_matches(decisive, STRICT_IOU), STRICT_IOU, evaluated.category_ids),
        ),
        operating_point=pooled,
        confusion=None
        if pooled.best_score is None
        else confusion(decisive, MATCH_IOU, pooled.best_score, list(names.values())),
        errors=tuple(errors(comparison, found, evaluated.category_ids) for comparison, found in compared),
        reliability=bins,
        score_errors=score_errors(bins),
        most_detections=most,
        images_with_most=int(np.count_nonzero(of_images == most)) if most else 0,
        worst=shown.worst,
        confident_false=shown.confident_false,
        missed=shown.missed,
        random=shown.random,
    )


def contradiction(evaluation: Evaluation) -> str | None:
    """Return a sentence if an AP50 of the detections isn't that of ``metrics.json``; None if none differs.

    AP50 of boxes, of masks, and of each class is compared where it is recorded. It differs if the annotation file, or
    one of the two result files, has changed since the evaluation.
    """
    name = f"{prefix_of(evaluation.kind)}AP50"
    curves = evaluation.precision_recall[0].by_class
    decisive_first = sorted(evaluation.ap50, key=lambda key: key != name)
    pairs = [(key, evaluation.metrics.get(key), evaluation.ap50[key]) for key in decisive_first]
    pairs += [
        (f"{name} of {one.name}", one.metrics.get(name), float(np.mean(curves[one.category])))
        for one in evaluation.classes
        if one.category in curves
    ]
    for what, recorded, computed in pairs:
        if recorded is not None and abs(recorded - computed) >= ROUNDING:
            return (
                f"{what} in metrics.json is {recorded:.4f}, but the detections have {computed:.4f} on the annotation "
                "file: one of these files has changed since the evaluation."
            )
    return None


def prefix_of(kind: Kind) -> str:
    """Return the prefix of the names of a kind's metrics."""
    return MASK_PREFIX if kind == "segm" else ""


def _ap50(found: PrecisionRecall) -> float:
    return UNDEFINED if found.overall is None else float(np.mean(found.overall))


def has_masks(evaluated: EvaluatedImages) -> bool:
    """Return whether masks can be compared: an object has one, and no detection lacks it."""
    return any(evaluated.annotations[row].get("segmentation") for row in evaluated.annotated) and all(
        "segmentation" in evaluated.results[row] for row in evaluated.detections.index
    )


def _classes(
    evaluated: EvaluatedImages,
    comparison: Comparison,
    matches: Matches,
    names: Mapping[int, str],
    class_metrics: Mapping[int, Mapping[str, float]],
    *,
    score: float | None,
) -> tuple[ClassAnalysis, ...]:
    detections = comparison.detections
    objects = np.bincount(comparison.objects.categories, minlength=comparison.categories).tolist()
    rows = rows_by_category(detections.categories, comparison.categories)
    classes = []
    for number, category in enumerate(evaluated.category_ids):
        own = rows[number]
        counted = detections.scores[own], matches.hits[own], matches.false_alarms[own], objects[number]
        point = operating_point(*counted)
        shared = None if score is None or not objects[number] else f1_at(*counted, score)
        classes.append(
            ClassAnalysis(
                category=category,
                name=names[category],
                objects=objects[number],
                detections=len(own),
                metrics=dict(class_metrics.get(category, {})),
                operating_point=point,
                f1_gain=None if shared is None or point.best_f1 is None else point.best_f1 - shared,
            )
        )
    return tuple(classes)
