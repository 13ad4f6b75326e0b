"""COCO's detection metrics, as fractions and with the names of TAO Toolkit.

Definitions: https://cocodataset.org/#detection-eval. As in pycocotools, a metric is -1 if the ground truth has no
object that it covers.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.coco import CocoDataset, checked_dataset
from maskrcnn_trainer.data.coco_json import read_json
from maskrcnn_trainer.data.segmentations import BrokenSegmentation, to_rle
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_curves import Curves, accumulate
from maskrcnn_trainer.evaluation.coco_matching import IOU_THRESHOLDS, DetectionMatches, match_image
from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId

logger = logging.getLogger(__name__)

METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "ARmax1", "ARmax10", "ARmax100", "ARs", "ARm", "ARl")
MASK_PREFIX = "mask_"
KINDS = ("bbox", "segm")
STANDARD_DETECTIONS = 100
UNDEFINED = -1.0
_EXAMPLES = 3


@dataclass(frozen=True)
class CocoMetrics:
    """Metrics of one evaluation: ``values`` over all classes, ``per_class`` by raw category id."""

    values: dict[str, float]
    per_class: dict[int, dict[str, float]] = field(default_factory=dict)


class GroundTruth:
    """Annotations that detections are compared with.

    Masks are converted to run lengths once, which makes each of the many evaluations during training cheaper. An object
    without a usable mask counts for the box metrics only.

    Args:
        content: a COCO instances dictionary (images, annotations, categories).
        name: name of the content in messages.

    Raises:
        InvalidInput: :func:`checked_dataset` rejects the content, or no box is usable.
    """

    def __init__(self, content: Mapping[str, Any], *, name: str = "valJsonFile") -> None:
        dataset = checked_dataset(content, name, require_files=False)
        self.name = name
        self.images: dict[ImageId, dict[str, Any]] = {image.id: asdict(image) for image in dataset.images}
        self.category_names: dict[int, str] = dataset.categories
        self.categories = dataset.named_categories()
        self.annotations, maskless = self._prepared(dataset)
        self._by_image: dict[ImageId, list[dict[str, Any]]] = {}
        for annotation in self.annotations:
            self._by_image.setdefault(annotation["image_id"], []).append(annotation)
        self._warn_of_masks(maskless)
        self._check_boxes()

    @classmethod
    def load(cls, path: str | Path) -> GroundTruth:
        """Read a COCO instances JSON file, with the same checks as dataset_convert and train."""
        return cls(read_json(str(path)), name=str(path))

    @property
    def image_ids(self) -> list[ImageId]:
        """Ids of all images."""
        return list(self.images)

    def of_image(self, image_id: ImageId) -> list[dict[str, Any]]:
        """Return the annotations of one image."""
        return list(self._by_image.get(image_id, []))

    def restricted_to(self, image_ids: Iterable[ImageId]) -> GroundTruth:
        """Return the same categories and image ids, with the annotations of these images only.

        Each rank keeps only the annotations of its own images, because the run lengths of a large data set take
        hundreds of megabytes.
        """
        kept = set(image_ids)
        part = copy.copy(self)
        part.images = {name: image if name in kept else {"id": name} for name, image in self.images.items()}
        by_image = {name: found for name, found in self._by_image.items() if name in kept}
        part._by_image = by_image  # noqa: SLF001 - an object of this class
        part.annotations = [annotation for found in by_image.values() for annotation in found]
        return part

    def evaluated_categories(self, image_ids: Iterable[ImageId]) -> set[int]:
        """Return the ids of the categories that have an object, other than crowds, in one of the images."""
        return {
            annotation["category_id"]
            for image_id in image_ids
            for annotation in self._by_image.get(image_id, [])
            if not annotation["iscrowd"]
        }

    @staticmethod
    def _prepared(dataset: CocoDataset) -> tuple[list[dict[str, Any]], dict[int, str]]:
        """Return the annotations for pycocotools, and the reason for each unusable mask by annotation id."""
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
                        # for pycocotools, id 0 means that there is no match
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

    def _check_boxes(self) -> None:
        wrong = [one for one in self.annotations if not _lies_in_image(one["bbox"], self.images[one["image_id"]])]
        if not wrong:
            return
        sentence = (
            f"{self.name}: {len(wrong)} of {len(self.annotations)} boxes have no area or leave their image by more "
            f"than a pixel, such as {wrong[0]['bbox']} in image {wrong[0]['image_id']}; bbox must be x, y, width, "
            "height in pixels, not x1, y1, x2, y2"
        )
        if len(wrong) == len(self.annotations):
            raise InvalidInput(sentence, reason="InvalidData")
        logger.warning("%s", sentence)


def _lies_in_image(bbox: Sequence[float], image: Mapping[str, Any]) -> bool:
    x, y, width, height = bbox
    inside = x >= -1 and y >= -1 and x + width <= image["width"] + 1 and y + height <= image["height"] + 1
    return inside and width > 0 and height > 0


class CocoMatching:
    """COCO's metrics in two steps: match each image, then compute the metrics of all matches.

    Args:
        ground_truth: annotations of at least the images that are matched here.
        kinds: ``bbox`` computes the twelve metrics, ``segm`` the same with the prefix ``mask_``.
        max_detections: D. The twelve metrics always use 100 detections; if D is larger, AP, AP50, and AR at D are added
            as ``AP_max<D>``, ``AP50_max<D>``, and ``ARmax<D>``.
    """

    def __init__(
        self,
        ground_truth: GroundTruth,
        *,
        kinds: Sequence[str] = KINDS,
        max_detections: int = STANDARD_DETECTIONS,
    ) -> None:
        self._ground_truth = ground_truth
        self._kinds = tuple(kinds)
        self._limits = sorted({1, 10, STANDARD_DETECTIONS, max(STANDARD_DETECTIONS, max_detections)})
        ids = sorted(ground_truth.images, key=lambda image_id: (str(type(image_id)), image_id))
        self._numbers = {image_id: number for number, image_id in enumerate(ids)}
        self._categories = {category: index for index, category in enumerate(sorted(ground_truth.category_names))}

    def number(self, image_id: ImageId) -> int:
        """Return the index of an image among all sorted ids, which is the same on every rank."""
        return self._numbers[image_id]

    def of_image(self, image_id: ImageId, results: Sequence[CocoResult]) -> DetectionMatches:
        """Return the matches of one image; safe to call from several threads."""
        return match_image(
            self._ground_truth.of_image(image_id), results,
            image=self._numbers[image_id], categories=self._categories, kinds=self._kinds, limit=self._limits[-1],
        )  # fmt: skip

    def metrics(self, parts: Sequence[DetectionMatches]) -> CocoMetrics:
        """Return the metrics of all images in ``parts``."""
        nothing = match_image((), (), image=0, categories={}, kinds=self._kinds, limit=1)
        matches = DetectionMatches.joined([nothing, *parts])
        values: dict[str, float] = {}
        per_class: dict[int, dict[str, float]] = {}
        standard = self._limits.index(STANDARD_DETECTIONS)
        for number, kind in enumerate(self._kinds):
            prefix = MASK_PREFIX if kind == "segm" else ""
            curves = accumulate(matches, number, len(self._kinds), len(self._categories), self._limits)
            values |= {prefix + name: value for name, value in _summary(curves, self._limits).items()}
            for category, index in self._categories.items():
                precision = curves.precision[:, :, index, 0, standard]
                per_class.setdefault(int(category), {}).update(
                    {prefix + "AP": _mean(precision), prefix + "AP50": _mean(precision[_iou(0.5)])}
                )
        return CocoMetrics(values, per_class)


def _summary(curves: Curves, limits: Sequence[int]) -> dict[str, float]:
    precision, recall = curves.precision, curves.recall
    standard = limits.index(STANDARD_DETECTIONS)
    values = [
        _mean(precision[:, :, :, 0, standard]),
        _mean(precision[_iou(0.5), :, :, 0, standard]),
        _mean(precision[_iou(0.75), :, :, 0, standard]),
        *(_mean(precision[:, :, :, area, standard]) for area in (1, 2, 3)),
        *(_mean(recall[:, :, 0, limits.index(limit)]) for limit in (1, 10, STANDARD_DETECTIONS)),
        *(_mean(recall[:, :, area, standard]) for area in (1, 2, 3)),
    ]
    summary = dict(zip(METRIC_NAMES, values, strict=True))
    largest = limits[-1]
    if largest > STANDARD_DETECTIONS:
        summary[f"AP_max{largest}"] = _mean(precision[:, :, :, 0, -1])
        summary[f"AP50_max{largest}"] = _mean(precision[_iou(0.5), :, :, 0, -1])
        summary[f"ARmax{largest}"] = _mean(recall[:, :, 0, -1])
    return summary


def _iou(threshold: float) -> int:
    return int(np.argmin(np.abs(IOU_THRESHOLDS - threshold)))


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else UNDEFINED
