"""Images that the report shows: the worst, random ones, and those with the gravest errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.report.comparison import Comparison, EvaluatedImages
from maskrcnn_trainer.report.content import Role, ShownImage, ShownObject
from maskrcnn_trainer.report.matching import Matches
from maskrcnn_trainer.report.tide import ERROR_TYPES, types_of_errors

LIST_LENGTH = 12
RANDOM_IMAGES_SEED = 12


@dataclass(frozen=True)
class ShownImages:
    """The four lists, see :class:`maskrcnn_trainer.report.content.Evaluation`."""

    worst: tuple[ShownImage, ...]
    confident_false: tuple[ShownImage, ...]
    missed: tuple[ShownImage, ...]
    random: tuple[ShownImage, ...]


def shown_images(
    evaluated: EvaluatedImages, comparison: Comparison, matches: Matches, score: float | None, names: Mapping[int, str]
) -> ShownImages:
    """Return up to twelve entries of each list; ties go by image id.

    Args:
        evaluated: the images.
        comparison: detections and objects.
        matches: matches by COCO's rule.
        score: smallest score of a shown detection; None if no detection counts.
        names: class name by raw category id.
    """
    selection = _Selection(evaluated, comparison, matches, score or 0.0, names)
    return ShownImages(selection.worst(), selection.confident_false(), selection.missed(), selection.random())


def image_f1(comparison: Comparison, matches: Matches, score: float) -> NDArray[np.float64]:
    """Return F1 of each image, float64 [images], with counts pooled over classes; 1 without objects and detections."""
    chosen = comparison.detections.scores >= score
    hits = _by_image(comparison.detections.images[matches.hits & chosen], comparison)
    false_alarms = _by_image(comparison.detections.images[matches.false_alarms & chosen], comparison)
    whole = hits + false_alarms + _by_image(comparison.objects.images, comparison)
    f1: NDArray[np.float64] = np.divide(2.0 * hits, whole, out=np.ones(comparison.images), where=whole > 0)
    return f1


class _Selection:
    """Choice of the images. Positions are ascending by image id, so a stable sort breaks ties by image id."""

    def __init__(
        self,
        evaluated: EvaluatedImages,
        comparison: Comparison,
        matches: Matches,
        score: float,
        names: Mapping[int, str],
    ) -> None:
        self._evaluated = evaluated
        self._detections = comparison.detections
        self._objects = comparison.objects
        self._matches = matches
        self._names = names
        self._types, _, self._others = types_of_errors(comparison)
        self._chosen = self._detections.scores >= score
        self._found = np.zeros(len(self._objects.images), bool)
        self._found[matches.objects[matches.hits & self._chosen]] = True
        self._f1 = image_f1(comparison, matches, score)

    def worst(self) -> tuple[ShownImage, ...]:
        return self._images(np.argsort(self._f1, kind="stable")[:LIST_LENGTH].tolist())

    def confident_false(self) -> tuple[ShownImage, ...]:
        rows = np.flatnonzero(self._matches.false_alarms)
        rows = rows[np.argsort(-self._detections.scores[rows], kind="stable")][:LIST_LENGTH]
        return tuple(self._image(int(self._detections.images[row]), self._detection(row)) for row in rows.tolist())

    def missed(self) -> tuple[ShownImage, ...]:
        rows = np.flatnonzero(~self._found)
        rows = rows[np.argsort(-self._objects.areas[rows], kind="stable")][:LIST_LENGTH]
        return tuple(self._image(int(self._objects.images[row]), self._object(row)) for row in rows.tolist())

    def random(self) -> tuple[ShownImage, ...]:
        number = len(self._f1)
        chosen = np.random.default_rng(RANDOM_IMAGES_SEED).choice(number, min(LIST_LENGTH, number), replace=False)
        return self._images(sorted(chosen.tolist()))

    def _images(self, images: Iterable[int]) -> tuple[ShownImage, ...]:
        return tuple(self._image(image) for image in images)

    def _image(self, image: int, first: ShownObject | None = None) -> ShownImage:
        begin, end = np.searchsorted(self._detections.images, [image, image + 1])
        counted = self._chosen & (self._matches.hits | self._matches.false_alarms)
        shown = [self._detection(begin + row) for row in np.flatnonzero(counted[begin:end]).tolist()]
        begin, end = np.searchsorted(self._objects.images, [image, image + 1])
        shown += [self._object(row) for row in range(begin, end)]
        if first is not None:
            shown = [first, *(one for one in shown if one != first)]
        return ShownImage(self._evaluated.image_ids[image], float(self._f1[image]), tuple(shown))

    def _detection(self, row: int) -> ShownObject:
        role: Role = "true" if self._matches.hits[row] else "false"
        index = int(self._detections.index[row])
        result = self._evaluated.results[index]
        shown = self._shown(role, result["category_id"], float(result["score"]), result["bbox"], index)
        if role == "true":
            return shown
        error = ERROR_TYPES[self._types[row]]
        return replace(shown, error=error, other_class=self._other_class(row) if error in ("Cls", "Both") else None)

    def _other_class(self, row: int) -> str:
        annotation = self._evaluated.annotations[int(self._objects.index[self._others[row]])]
        return self._names[annotation["category_id"]]

    def _object(self, row: int) -> ShownObject:
        index = int(self._objects.index[row])
        annotation = self._evaluated.annotations[index]
        role: Role = "object" if self._found[row] else "missed"
        return self._shown(role, annotation["category_id"], None, annotation["bbox"], index)

    def _shown(self, role: Role, category: int, score: float | None, box: list[float], index: int) -> ShownObject:
        x, y, width, height = (float(value) for value in box)
        return ShownObject(role, category, self._names[category], score, (x, y, width, height), index)


def _by_image(images: NDArray[np.int32], comparison: Comparison) -> NDArray[np.int64]:
    return np.bincount(images, minlength=comparison.images)
