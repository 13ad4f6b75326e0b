"""Matching of detections with the ground truth of their image by pycocotools, as arrays that a rank can send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval, Params

from maskrcnn_trainer.evaluation.coco_results import CocoResult

_STANDARD = Params("bbox")  # masks have the same thresholds and areas
IOU_THRESHOLDS: NDArray[np.float64] = np.asarray(_STANDARD.iouThrs)
RECALLS: NDArray[np.float64] = np.asarray(_STANDARD.recThrs)
AREAS: tuple[tuple[float, float], ...] = tuple((float(low), float(high)) for low, high in _STANDARD.areaRng)


@dataclass(frozen=True)
class DetectionMatches:
    """Input of COCO's metrics for the detections of some images.

    An entry is one category in one image that has objects or detections of it (E entries). The detections of an entry
    are consecutive, best first (N detections in all entries); those beyond the largest limit are left out. T, A, and K
    are the numbers of IoU thresholds, area ranges, and comparisons (box, mask).

    Attributes:
        images: int32 [E], index of the image among all sorted ids; ascending after the ranks are joined.
        categories: int32 [E], index of the category among all sorted ids.
        detections: int32 [E], number of detections of the entry.
        objects: int32 [E, K, A], number of objects that count in each area range.
        scores: float64 [N].
        hits: uint8 [N, ceil(K A T / 8)], packed bits [K, A, T], set if the detection matches an object that counts.
        false_alarms: packed likewise, set if the detection counts and matches no object. An ignored detection has
            neither bit set.
    """

    images: NDArray[np.int32]
    categories: NDArray[np.int32]
    detections: NDArray[np.int32]
    objects: NDArray[np.int32]
    scores: NDArray[np.float64]
    hits: NDArray[np.uint8]
    false_alarms: NDArray[np.uint8]

    @classmethod
    def joined(cls, parts: Sequence[DetectionMatches]) -> DetectionMatches:
        """Return the entries of all parts, sorted by image: COCO breaks ties between scores by that order."""
        whole = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in (own.name for own in fields(cls))
        }
        order = np.argsort(whole["images"], kind="stable")
        starts = np.cumsum(whole["detections"], dtype=np.int64) - whole["detections"]
        lengths = whole["detections"][order]
        ends = np.cumsum(lengths, dtype=np.int64)
        rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[order] - (ends - lengths), lengths)
        by_entry = ("images", "categories", "detections", "objects")
        return cls(**{name: values[order if name in by_entry else rows] for name, values in whole.items()})

    def without(self, images: NDArray[np.int32]) -> DetectionMatches:
        """Return the entries of all images except these."""
        kept = ~np.isin(self.images, images)
        rows = np.repeat(kept, self.detections)
        return DetectionMatches(
            self.images[kept], self.categories[kept], self.detections[kept], self.objects[kept],
            self.scores[rows], self.hits[rows], self.false_alarms[rows],
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by attribute name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


@dataclass(frozen=True)
class _Matched:
    """One category of one image in one comparison: bool [A, T, D] twice, scores [D], and objects that count [A]."""

    hits: NDArray[np.bool_]
    false_alarms: NDArray[np.bool_]
    scores: NDArray[np.float64]
    objects: NDArray[np.int64]


class _OneImage(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """Matching of pycocotools for the objects of one image instead of a whole data set."""

    def __init__(self, kind: str, limit: int) -> None:
        super().__init__(None, None, kind)
        self._limit = limit
        self.params.maxDets = [limit]

    def matched(self, objects: list[dict[str, Any]], detections: list[dict[str, Any]]) -> _Matched:
        key = (0, 0)
        self._gts, self._dts = {key: objects}, {key: detections}
        self.ious = {key: self.computeIoU(*key)}
        found = [self.evaluateImg(*key, area, self._limit) for area in AREAS]
        if found[0] is None:  # neither objects nor detections
            empty = np.zeros((len(AREAS), len(IOU_THRESHOLDS), 0), bool)
            return _Matched(empty, empty, np.zeros(0), np.zeros(len(AREAS), np.int64))
        has_object = np.array([area["dtMatches"] for area in found]) != 0
        counts = ~np.array([area["dtIgnore"] for area in found], bool)
        return _Matched(
            has_object & counts,
            ~has_object & counts,
            np.array(found[0]["dtScores"], np.float64),
            np.array([np.count_nonzero(np.asarray(area["gtIgnore"]) == 0) for area in found]),
        )


def match_image(
    objects: Sequence[Mapping[str, Any]],
    results: Sequence[CocoResult],
    *,
    image: int,
    categories: Mapping[int, int],
    kinds: Sequence[str],
    limit: int,
) -> DetectionMatches:
    """Match the detections of one image by COCO's rule, at every IoU threshold and in every area range.

    Args:
        objects: annotations of the image as :class:`GroundTruth` prepares them: ``id`` isn't 0, ``segmentation`` is
            run lengths. Annotations without a segmentation are compared by box only.
        results: COCO results of the image, with a bbox for the kind ``bbox``, a segmentation for ``segm``.
        image: index of the image among all image ids.
        categories: index of each category id; results of other categories are ignored.
        kinds: ``bbox``, ``segm``, or both.
        limit: maximum detections per category, best first.
    """
    matchers = {kind: _OneImage(kind, limit) for kind in kinds}
    found: list[tuple[int, list[_Matched]]] = []
    for category in sorted({part["category_id"] for part in (*objects, *results)} & categories.keys()):
        truth = [dict(entry) | {"ignore": entry["iscrowd"]} for entry in objects if entry["category_id"] == category]
        mine = [result for result in results if result["category_id"] == category]
        by_kind = [
            matcher.matched(
                [entry for entry in truth if kind != "segm" or entry.get("segmentation")],
                [_detection(number, result, kind) for number, result in enumerate(mine, start=1)],
            )
            for kind, matcher in matchers.items()
        ]
        found.append((categories[category], by_kind))
    return DetectionMatches(
        images=np.full(len(found), image, np.int32),
        categories=np.array([category for category, _ in found], np.int32),
        detections=np.array([len(by_kind[0].scores) for _, by_kind in found], np.int32),
        objects=np.array([[kind.objects for kind in by_kind] for _, by_kind in found], np.int32).reshape(
            len(found), len(kinds), len(AREAS)
        ),
        scores=np.concatenate([np.zeros(0), *(by_kind[0].scores for _, by_kind in found)]),
        hits=_packed([np.array([kind.hits for kind in by_kind]) for _, by_kind in found], len(kinds)),
        false_alarms=_packed([np.array([kind.false_alarms for kind in by_kind]) for _, by_kind in found], len(kinds)),
    )


def unpacked(bits: NDArray[np.uint8], kinds: int) -> NDArray[np.bool_]:
    """Return the bits [N, ceil(K A T / 8)] of :class:`DetectionMatches` as bool [N, K, A, T]."""
    shape = (kinds, len(AREAS), len(IOU_THRESHOLDS))
    return np.unpackbits(bits, axis=1, count=int(np.prod(shape))).astype(bool).reshape(len(bits), *shape)


def _packed(flags: Sequence[NDArray[np.bool_]], kinds: int) -> NDArray[np.uint8]:
    width = kinds * len(AREAS) * len(IOU_THRESHOLDS)
    rows = [entry.reshape(width, -1).T for entry in flags]
    return np.packbits(np.concatenate([np.zeros((0, width), bool), *rows]), axis=1)


def _detection(number: int, result: CocoResult, kind: str) -> dict[str, Any]:
    """Return a result with its area by COCO's rule: that of the mask if masks are compared, else that of the box."""
    if kind == "segm":
        rle = result["segmentation"]
        return {"id": number, "score": result["score"], "segmentation": rle, "area": float(coco_mask.area(rle))}
    box = result["bbox"]
    return {"id": number, "score": result["score"], "bbox": box, "area": box[2] * box[3]}
