"""COCO's metrics of detections, computed by pycocotools, as fractions and under the names of the original toolkit.

The definitions are those of https://cocodataset.org/#detection-eval. A value is -1 where the ground truth has no object
that it speaks of, as in pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId

logger = logging.getLogger(__name__)

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl")
MASK_PREFIX = "mask_"
STANDARD_DETECTIONS = 100
UNDEFINED = -1.0


@dataclass(frozen=True)
class CocoMetrics:
    """Metrics of one evaluation: ``values`` over all classes, ``per_class`` by raw category id."""

    values: dict[str, float]
    per_class: dict[int, dict[str, float]] = field(default_factory=dict)


class GroundTruth:
    """The annotations that detections are compared with.

    Every mask is turned into run lengths once, so that each of many evaluations during a training costs less.

    Args:
        dataset: a COCO instances dictionary (images, annotations, categories).
        name: what messages call it.

    Raises:
        InvalidInput: a part is missing, or an annotation has neither a usable box nor a known image.
    """

    def __init__(self, dataset: Mapping[str, Any], *, name: str = "valJsonFile") -> None:
        for part in ("images", "annotations", "categories"):
            if not isinstance(dataset.get(part), list):
                raise InvalidInput(f"{name}: no list {part!r}; it must be COCO instances JSON", reason="InvalidData")
        self.name = name
        self.images: dict[ImageId, dict[str, Any]] = {image["id"]: image for image in dataset["images"]}
        self.category_names: dict[int, str] = {
            category["id"]: str(category.get("name", category["id"])) for category in dataset["categories"]
        }
        self.annotations, unusable = self._prepared(dataset["annotations"])
        if unusable:
            logger.warning("%s: %d annotations cannot be read and are not evaluated", name, unusable)
        self._coco = _coco(list(self.images.values()), self.annotations, dataset["categories"])

    @classmethod
    def load(cls, path: str | Path) -> GroundTruth:
        """Read a COCO instances JSON file."""
        try:
            dataset = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"valJsonFile: {path} cannot be read: {error}", reason="InvalidData") from error
        if not isinstance(dataset, dict):
            raise InvalidInput(f"valJsonFile: {path} is not COCO instances JSON", reason="InvalidData")
        return cls(dataset, name=str(path))

    @property
    def coco(self) -> COCO:
        return self._coco

    @property
    def image_ids(self) -> list[ImageId]:
        return list(self.images)

    def of_image(self, image_id: ImageId) -> list[dict[str, Any]]:
        """The annotations of one image."""
        return list(self._coco.imgToAnns.get(image_id, []))

    def _prepared(self, annotations: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
        prepared: list[dict[str, Any]] = []
        unusable = 0
        for annotation in annotations:
            image = self.images.get(annotation.get("image_id", ""))
            if image is None:
                continue
            rle = annotation_rle(annotation, image)
            if rle is None or annotation.get("category_id") not in self.category_names:
                unusable += 1
                continue
            complete = dict(annotation) | {"segmentation": rle}
            complete.setdefault("iscrowd", 0)
            complete.setdefault("area", float(coco_mask.area(rle)))
            complete.setdefault("bbox", coco_mask.toBbox(rle).tolist())
            # pycocotools tells a match from none by the id being other than 0
            complete["id"] = len(prepared) + 1
            prepared.append(complete)
        return prepared, unusable


def annotation_rle(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, Any] | None:
    """An annotation's polygons or run lengths as one compressed RLE (``counts`` bytes), or None if there is no mask."""
    segmentation = annotation.get("segmentation")
    height, width = image["height"], image["width"]
    try:
        if isinstance(segmentation, list):
            rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)) if segmentation else None
        elif isinstance(segmentation, dict) and isinstance(segmentation["counts"], list):
            rle = coco_mask.frPyObjects(segmentation, height, width)
        elif isinstance(segmentation, dict):
            counts = segmentation["counts"]
            rle = {"size": segmentation["size"], "counts": counts.encode() if isinstance(counts, str) else counts}
        else:
            rle = None
        coco_mask.area(rle or [])
    except Exception:  # pycocotools raises several kinds, bare ones too, over broken segmentations
        return None
    return rle if rle is not None and list(rle["size"]) == [height, width] else None


def evaluate_coco(
    ground_truth: GroundTruth,
    results: Sequence[CocoResult],
    image_ids: Iterable[ImageId] | None = None,
    *,
    kinds: Sequence[str] = ("bbox", "segm"),
    max_detections: int = STANDARD_DETECTIONS,
) -> CocoMetrics:
    """Compare results with the ground truth of the images seen.

    Args:
        results: COCO result objects with what ``kinds`` asks for: ``bbox`` a bbox, ``segm`` a segmentation.
        image_ids: the images that were looked at, with or without detections; all when None.
        kinds: ``bbox`` gives the twelve names, ``segm`` the same with the prefix ``mask_``.
        max_detections: D. The twelve names always stand for 100 detections; AP, AP50 and AR at D are given beside them,
            as ``AP_max<D>``, ``AP50_max<D>`` and ``ARmax<D>``, when D is larger.

    Raises:
        InvalidInput: a result names an image that the ground truth lacks.
    """
    seen = sorted(
        ground_truth.images if image_ids is None else set(image_ids), key=lambda name: (str(type(name)), name)
    )
    unknown = next((item["image_id"] for item in results if item["image_id"] not in ground_truth.images), None)
    if unknown is not None:
        raise InvalidInput(f"{ground_truth.name}: it has no image with id {unknown!r}", reason="InvalidData")
    values: dict[str, float] = {}
    per_class: dict[int, dict[str, float]] = {}
    for kind in kinds:
        prefix = MASK_PREFIX if kind == "segm" else ""
        evaluation = _evaluate(ground_truth, results, seen, kind, max_detections)
        values |= {prefix + name: value for name, value in _summary(evaluation, max_detections).items()}
        for index, category in enumerate(evaluation.params.catIds):
            precision = evaluation.eval["precision"][:, :, index, 0, _at(evaluation, STANDARD_DETECTIONS)]
            per_class.setdefault(int(category), {}).update(
                {prefix + "AP": _mean(precision), prefix + "AP50": _mean(precision[_iou(evaluation, 0.5)])}
            )
    return CocoMetrics(values, per_class)


def _evaluate(
    ground_truth: GroundTruth, results: Sequence[CocoResult], seen: Sequence[ImageId], kind: str, max_detections: int
) -> COCOeval:
    detections = _coco(
        list(ground_truth.images.values()),
        [_detection(number, result, kind) for number, result in enumerate(results, start=1)],
        ground_truth.coco.dataset["categories"],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(ground_truth.coco, detections, kind)
        evaluation.params.imgIds = list(seen)
        limits = {1, 10, STANDARD_DETECTIONS, max(STANDARD_DETECTIONS, max_detections)}
        evaluation.params.maxDets = sorted(limits)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _detection(number: int, result: CocoResult, kind: str) -> dict[str, Any]:
    """A result with the area that COCO's rule gives it: of the mask where masks are compared, else of the box."""
    detection = {key: result[key] for key in ("image_id", "category_id", "score")} | {"id": number, "iscrowd": 0}
    if kind == "segm":
        rle = result["segmentation"]
        detection["segmentation"] = rle
        detection["area"] = float(coco_mask.area(rle))
        detection["bbox"] = result.get("bbox") or coco_mask.toBbox(rle).tolist()
    else:
        detection["bbox"] = result["bbox"]
        detection["area"] = result["bbox"][2] * result["bbox"][3]
    return detection


def _coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]], categories: list[dict[str, Any]]) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
        coco.createIndex()
    return coco


def _summary(evaluation: COCOeval, max_detections: int) -> dict[str, float]:
    precision = evaluation.eval["precision"]  # [IoU thresholds, recalls, classes, areas, limits of detections]
    recall = evaluation.eval["recall"]  # [IoU thresholds, classes, areas, limits of detections]
    standard = _at(evaluation, STANDARD_DETECTIONS)
    values = [
        _mean(precision[:, :, :, 0, standard]),
        _mean(precision[_iou(evaluation, 0.5), :, :, 0, standard]),
        _mean(precision[_iou(evaluation, 0.75), :, :, 0, standard]),
        *(_mean(precision[:, :, :, area, standard]) for area in (1, 2, 3)),
        *(_mean(recall[:, :, 0, _at(evaluation, limit)]) for limit in (1, 10, STANDARD_DETECTIONS)),
        *(_mean(recall[:, :, area, standard]) for area in (1, 2, 3)),
    ]
    summary = dict(zip(METRIC_NAMES, values, strict=True))
    if max_detections > STANDARD_DETECTIONS:
        largest = _at(evaluation, max_detections)
        summary[f"AP_max{max_detections}"] = _mean(precision[:, :, :, 0, largest])
        summary[f"AP50_max{max_detections}"] = _mean(precision[_iou(evaluation, 0.5), :, :, 0, largest])
        summary[f"ARmax{max_detections}"] = _mean(recall[:, :, 0, largest])
    return summary


def _at(evaluation: COCOeval, limit: int) -> int:
    return list(evaluation.params.maxDets).index(limit)


def _iou(evaluation: COCOeval, threshold: float) -> int:
    return int(np.argmin(np.abs(np.asarray(evaluation.params.iouThrs) - threshold)))


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else UNDEFINED
