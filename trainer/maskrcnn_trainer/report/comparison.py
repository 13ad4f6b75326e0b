"""Detections and objects of the evaluated images as arrays, and their IoU by boxes or by masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.coco_results import CocoResult, ImageId
from maskrcnn_trainer.report.content import Kind

SMALLEST_IOU = 0.1
"""Pairs below it are left out: TIDE counts a detection whose IoU with all objects is at most this as background."""


@dataclass(frozen=True)
class DetectionArrays:
    """D detections by ascending image, and best first within an image.

    Attributes:
        images: int32 [D], position in :attr:`EvaluatedImages.image_ids`.
        categories: int32 [D], position in :attr:`EvaluatedImages.category_ids`.
        scores: float64 [D].
        index: int64 [D], position in :attr:`EvaluatedImages.results`.
        rank: int32 [D], number of better detections in the image.
        class_rank: int32 [D], number of better detections of the same class in the image.
    """

    images: NDArray[np.int32]
    categories: NDArray[np.int32]
    scores: NDArray[np.float64]
    index: NDArray[np.int64]
    rank: NDArray[np.int32]
    class_rank: NDArray[np.int32]


@dataclass(frozen=True)
class ObjectArrays:
    """G objects without crowds, by ascending image, and in the order of the annotations within an image.

    Attributes:
        images: int32 [G], as for detections.
        categories: int32 [G], as for detections.
        areas: float64 [G], in pixels: of the annotation for masks, of the box for boxes.
        index: int64 [G], position in :attr:`EvaluatedImages.annotations`.
    """

    images: NDArray[np.int32]
    categories: NDArray[np.int32]
    areas: NDArray[np.float64]
    index: NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """P pairs of a detection and an object of the same image with an IoU of at least ``SMALLEST_IOU``.

    They are sorted by detection, then by descending IoU, then by object.

    Attributes:
        detections: int32 [P], position in :class:`DetectionArrays`.
        objects: int32 [P], position in :class:`ObjectArrays`.
        ious: float64 [P].
        same_class: bool [P].
    """

    detections: NDArray[np.int32]
    objects: NDArray[np.int32]
    ious: NDArray[np.float64]
    same_class: NDArray[np.bool_]


@dataclass(frozen=True)
class EvaluatedImages:
    """The images that an evaluation saw, with all detections and annotations.

    Attributes:
        image_ids: ascending; as :class:`CocoMatching` sorts them.
        category_ids: raw category ids, ascending.
        results: COCO results, also of images and categories that don't count.
        annotations: annotations of :class:`GroundTruth`, also of other images.
        detections: those of these images and categories.
        annotated: int64 [A], positions in ``annotations`` of those in these images, crowds included, by image.
        annotated_images: int32 [A], position of their image, ascending.
    """

    image_ids: tuple[ImageId, ...]
    category_ids: tuple[int, ...]
    results: Sequence[CocoResult]
    annotations: Sequence[Mapping[str, Any]]
    detections: DetectionArrays
    annotated: NDArray[np.int64]
    annotated_images: NDArray[np.int32]


@dataclass(frozen=True)
class Comparison:
    """Detections and objects compared by boxes or by masks.

    Attributes:
        kind: boxes or masks.
        images: number of images.
        categories: number of categories.
        detections: all detections.
        objects: objects that can be compared: those without a usable mask count for boxes only.
        pairs: their overlaps.
        crowd_ious: float64 [D], largest intersection with a crowd of the same class, as a share of the detection's own
            area, as COCO compares detections with crowds; 0 without a crowd.
    """

    kind: Kind
    images: int
    categories: int
    detections: DetectionArrays
    objects: ObjectArrays
    pairs: Pairs
    crowd_ious: NDArray[np.float64]


def evaluated_images(
    results: Sequence[CocoResult], ground_truth: GroundTruth, image_ids: Iterable[ImageId]
) -> EvaluatedImages:
    """Return detections and annotations of the images that an evaluation saw, sorted.

    Args:
        results: detections in COCO's results format, in pixels of the original image.
        ground_truth: annotations of at least these images.
        image_ids: ids of the evaluated images; duplicates count once.

    Raises:
        InvalidInput: the ground truth doesn't have one of the images.
    """
    ids = tuple(sorted(set(image_ids), key=lambda image_id: (str(type(image_id)), image_id)))
    known = ground_truth.images.keys()
    for image_id in ids:
        if image_id not in known:
            raise InvalidInput(
                f"{ground_truth.name}: no image with id {image_id!r}, which was evaluated; the report needs the file "
                "that the evaluation used",
                reason="InvalidData",
            )
    image_of = {image_id: number for number, image_id in enumerate(ids)}
    category_ids = tuple(sorted(ground_truth.category_names))
    category_of = {category: number for number, category in enumerate(category_ids)}
    annotation_images = np.array([image_of.get(one["image_id"], -1) for one in ground_truth.annotations], np.int32)
    annotated = np.argsort(annotation_images, kind="stable")[np.count_nonzero(annotation_images < 0) :]
    return EvaluatedImages(
        ids, category_ids, results, ground_truth.annotations, _detections(results, image_of, category_of),
        annotated, annotation_images[annotated],
    )  # fmt: skip


def compare(evaluated: EvaluatedImages, kind: Kind) -> Comparison:
    """Return the overlaps of all detections and objects of the same image, computed by pycocotools.

    Args:
        evaluated: the images; for ``segm`` each detection has a segmentation.
        kind: comparison by boxes or by masks.
    """
    field = "segmentation" if kind == "segm" else "bbox"
    annotations, detections = evaluated.annotations, evaluated.detections
    rows = np.array([row for row in evaluated.annotated.tolist() if annotations[row].get(field)], np.int64)
    image_of = np.zeros(len(annotations), np.int32)
    image_of[evaluated.annotated] = evaluated.annotated_images
    images = image_of[rows]
    category_of = {category: number for number, category in enumerate(evaluated.category_ids)}
    categories = np.array([category_of[annotations[row]["category_id"]] for row in rows.tolist()], np.int32)
    crowd = np.array([bool(annotations[row]["iscrowd"]) for row in rows.tolist()], bool)
    numbers = np.cumsum(~crowd) - 1  # of the objects without crowds
    crowd_ious = np.zeros(len(detections.scores))
    parts: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    bounds = np.arange(len(evaluated.image_ids) + 1)
    of_detections = np.searchsorted(detections.images, bounds).tolist()
    of_objects = np.searchsorted(images, bounds).tolist()
    index = detections.index.tolist()
    for image in range(len(evaluated.image_ids)):
        first, last = of_detections[image], of_detections[image + 1]
        begin, end = of_objects[image], of_objects[image + 1]
        if first == last or begin == end:
            continue
        ious = coco_mask.iou(
            _shapes([evaluated.results[at][field] for at in index[first:last]], kind),
            _shapes([annotations[row][field] for row in rows[begin:end].tolist()], kind),
            crowd[begin:end].astype(np.uint8).tolist(),
        )
        plain = ~crowd[begin:end]
        if not plain.all():
            same = detections.categories[first:last, None] == categories[None, begin:end][:, ~plain]
            crowd_ious[first:last] = (ious[:, ~plain] * same).max(axis=1)
        detection, position = np.nonzero((ious >= SMALLEST_IOU) & plain)
        parts.append((first + detection, numbers[begin + position], ious[detection, position]))
    objects = ObjectArrays(
        images[~crowd], categories[~crowd], _areas(annotations, rows[~crowd].tolist(), kind), rows[~crowd]
    )
    return Comparison(
        kind, len(evaluated.image_ids), len(evaluated.category_ids), detections, objects,
        _pairs(parts, detections, objects), crowd_ious,
    )  # fmt: skip


def _detections(
    results: Sequence[CocoResult], image_of: Mapping[ImageId, int], category_of: Mapping[int, int]
) -> DetectionArrays:
    images = np.array([image_of.get(one["image_id"], -1) for one in results], np.int32)
    categories = np.array([category_of.get(one["category_id"], -1) for one in results], np.int32)
    scores = np.array([one["score"] for one in results], np.float64)
    index = np.flatnonzero((images >= 0) & (categories >= 0))
    index = index[np.lexsort((-scores[index], images[index]))]  # stable, as in pycocotools
    images, categories, scores = images[index], categories[index], scores[index]
    return DetectionArrays(
        images,
        categories,
        scores,
        index,
        _ranks(images),
        _ranks(images.astype(np.int64) * len(category_of) + categories),
    )


def _ranks(groups: NDArray[Any]) -> NDArray[np.int32]:
    """Return the number of earlier entries of the same group: [N] -> int32 [N]."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    ranks = np.empty(len(groups), np.int32)
    ranks[order] = np.arange(len(groups)) - np.searchsorted(ordered, ordered)
    return ranks


def _shapes(shapes: list[Any], kind: Kind) -> Any:
    return shapes if kind == "segm" else np.array(shapes, np.float64)


def _areas(annotations: Sequence[Mapping[str, Any]], rows: list[int], kind: Kind) -> NDArray[np.float64]:
    if kind == "segm":
        return np.array([annotations[row]["area"] for row in rows], np.float64)
    return np.array([annotations[row]["bbox"][2] * annotations[row]["bbox"][3] for row in rows], np.float64)


def _pairs(
    parts: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]], detections: DetectionArrays, objects: ObjectArrays
) -> Pairs:
    empty = (np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0))
    found, truth, ious = (np.concatenate(columns) for columns in zip(empty, *parts, strict=True))
    order = np.lexsort((truth, -ious, found))
    found, truth = found[order].astype(np.int32), truth[order].astype(np.int32)
    return Pairs(found, truth, ious[order], detections.categories[found] == objects.categories[truth])
