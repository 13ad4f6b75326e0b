"""Counts of the objects that a conversion writes, by class and by COCO's ranges of areas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from maskrcnn_trainer.conversion.objects import Outcome
from maskrcnn_trainer.data.coco import CocoAnnotation
from maskrcnn_trainer.results.facts import ClassObjects

_MEDIUM, _LARGE = 32.0**2, 96.0**2
"""Smallest areas in pixels (https://cocodataset.org/#detection-eval)."""


class ClassCounts:
    """Counts of written objects, without crowds."""

    def __init__(self) -> None:
        self._found: Counter[tuple[int, str]] = Counter()

    def add(self, annotations: Iterable[CocoAnnotation], outcomes: Iterable[Outcome]) -> None:
        """Count the objects of one image.

        Args:
            annotations: of the image.
            outcomes: of its annotations, in their order.
        """
        for annotation, outcome in zip(annotations, outcomes, strict=True):
            if outcome.area is not None:
                self._found[annotation.category_id, _size(outcome.area)] += 1

    def of(self, categories: Mapping[int, str]) -> tuple[ClassObjects, ...]:
        """Return the counts of all categories by id, also of those without objects.

        Args:
            categories: name by raw category id.
        """
        return tuple(self._of_class(number, categories[number]) for number in sorted(categories))

    def _of_class(self, number: int, name: str) -> ClassObjects:
        small, medium, large = (self._found[number, size] for size in ("small", "medium", "large"))
        return ClassObjects(number, name, small + medium + large, small, medium, large)


def _size(area: float) -> str:
    if area < _MEDIUM:
        return "small"
    return "medium" if area < _LARGE else "large"
