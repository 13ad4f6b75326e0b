"""COCO's metrics of detections, computed by pycocotools, as fractions and under the names of the original toolkit.

The definitions are those of https://cocodataset.org/#detection-eval. A value is -1 where the ground truth has no object
that it speaks of, as in pycocotools.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_trainer.data.coco import CocoDataset, checked_dataset, read_json
from maskrcnn_trainer.data.convert.masks import BrokenSegmentation, to_rle
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId

logger = logging.getLogger(__name__)

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl")
MASK_PREFIX = "mask_"
STANDARD_DETECTIONS = 100
UNDEFINED = -1.0
_EXAMPLES = 3


@dataclass(frozen=True)
class CocoMetrics:
    """Metrics of one evaluation: ``values`` over all classes, ``per_class`` by raw category id."""

    values: dict[str, float]
    per_class: dict[int, dict[str, float]] = field(default_factory=dict)


class GroundTruth:
    """The annotations that detections are compared with.

    Every mask is turned into run lengths once, so that each of many evaluations during a training costs less. An object
    without a usable mask counts for the box metrics only.

    Args:
        content: a COCO instances dictionary (images, annotations, categories).
        name: what messages call it.

    Raises:
        InvalidInput: the content is not what :func:`checked_dataset` accepts.
    """

    def __init__(self, content: Mapping[str, Any], *, name: str = "valJsonFile") -> None:
        dataset = checked_dataset(content, name, require_files=False)
        self.name = name
        self.images: dict[ImageId, dict[str, Any]] = {image.id: asdict(image) for image in dataset.images}
        self.category_names: dict[int, str] = dataset.categories
        self.annotations, maskless = self._prepared(dataset)
        categories = [{"id": number, "name": category} for number, category in dataset.categories.items()]
        images = list(self.images.values())
        self._coco = _coco(images, self.annotations, categories)
        with_mask = [annotation for annotation in self.annotations if annotation["segmentation"] is not None]
        self._coco_of_masks = _coco(images, with_mask, categories) if maskless else self._coco
        self._warn_of_masks(maskless)
        self._warn_of_boxes()

    @classmethod
    def load(cls, path: str | Path) -> GroundTruth:
        """Read a COCO instances JSON file, by the checks that dataset_convert and train make."""
        return cls(read_json(str(path)), name=str(path))

    @property
    def coco(self) -> COCO:
        """All objects, for the box metrics."""
        return self._coco

    @property
    def coco_of_masks(self) -> COCO:
        """The objects with a usable mask, for the mask metrics."""
        return self._coco_of_masks

    @property
    def image_ids(self) -> list[ImageId]:
        return list(self.images)

    def of_image(self, image_id: ImageId) -> list[dict[str, Any]]:
        """The annotations of one image."""
        return list(self._coco.imgToAnns.get(image_id, []))

    def evaluated_categories(self, image_ids: Iterable[ImageId]) -> set[int]:
        """Return the ids of the categories that have an object, other than crowds, in one of the images."""
        return {
            annotation["category_id"]
            for image_id in image_ids
            for annotation in self._coco.imgToAnns.get(image_id, [])
            if not annotation["iscrowd"]
        }

    @staticmethod
    def _prepared(dataset: CocoDataset) -> tuple[list[dict[str, Any]], dict[int, str]]:
        """Return the annotations for pycocotools, and why a mask cannot be used, by annotation id."""
        prepared: list[dict[str, Any]] = []
        maskless: dict[int, str] = {}
        for image in dataset.images:
            for annotation in dataset.annotations_of(image.id):
                rle, area = None, annotation.area
                try:
                    if annotation.segmentation is None:
                        raise BrokenSegmentation("segmentation is missing")
                    rle = to_rle(annotation.segmentation, image.height, image.width)
                    area = float(coco_mask.area(rle)) if area is None else area
                except BrokenSegmentation as error:
                    maskless[annotation.id] = str(error)
                prepared.append(
                    {
                        # pycocotools tells a match from none by the id being other than 0
                        "id": len(prepared) + 1,
                        "image_id": image.id,
                        "category_id": annotation.category_id,
                        "bbox": list(annotation.bbox),
                        "area": annotation.bbox[2] * annotation.bbox[3] if area is None else area,
                        "iscrowd": int(annotation.is_crowd),
                        "segmentation": rle,
                    }
                )
        return prepared, maskless

    def _warn_of_masks(self, maskless: Mapping[int, str]) -> None:
        if not maskless:
            return
        logger.warning(
            "%s: %d of %d objects have no usable mask and count for the box metrics only%s: %s",
            self.name,
            len(maskless),
            len(self.annotations),
            "; mask metrics are -1" if len(maskless) == len(self.annotations) else "",
            "; ".join(f"annotation {number}: {reason}" for number, reason in list(maskless.items())[:_EXAMPLES])
            + ("; ..." if len(maskless) > _EXAMPLES else ""),
        )

    def _warn_of_boxes(self) -> None:
        wrong = [one for one in self.annotations if not _lies_in_image(one["bbox"], self.images[one["image_id"]])]
        if wrong:
            logger.warning(
                "%s: %d of %d boxes have no area or leave their image by more than a pixel, such as %s in image %s; "
                "bbox must be x, y, width, height in pixels, not x1, y1, x2, y2",
                self.name,
                len(wrong),
                len(self.annotations),
                wrong[0]["bbox"],
                wrong[0]["image_id"],
            )


def _lies_in_image(bbox: Sequence[float], image: Mapping[str, Any]) -> bool:
    x, y, width, height = bbox
    inside = x >= -1 and y >= -1 and x + width <= image["width"] + 1 and y + height <= image["height"] + 1
    return inside and width > 0 and height > 0


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
        truth = ground_truth.coco_of_masks if kind == "segm" else ground_truth.coco
        evaluation = COCOeval(truth, detections, kind)
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
