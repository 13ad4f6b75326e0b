"""Choice of the classes that have a line of their own in a chart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from maskrcnn_trainer.report.content import ClassAnalysis, Evaluation, Kind
from maskrcnn_trainer.report.page.line_chart import Line, Point
from maskrcnn_trainer.report.page.palette import SERIES_COLORS

LARGEST_WITH_ALL = SERIES_COLORS - 1
BEST, LOWEST = 3, 4
LARGEST_WITH_THIN = 100
"""Number of classes up to which the others are drawn as thin gray lines."""

KIND_NAMES: dict[Kind, str] = {"bbox": "box", "segm": "mask"}


def metric(kind: Kind, name: str) -> str:
    """Return the key of a metric for boxes or masks: ``AP50`` is ``mask_AP50`` for masks."""
    return f"mask_{name}" if kind == "segm" else name


def plural(kind: Kind) -> str:
    """Return "boxes" or "masks"."""
    return "boxes" if kind == "bbox" else "masks"


def kinds_of(metrics: Mapping[str, float]) -> tuple[Kind, ...]:
    """Return the kinds of comparison that metrics have: masks, if any, and boxes."""
    return ("segm", "bbox") if any(name.startswith("mask_") for name in metrics) else ("bbox",)


def in_words(key: str) -> str:
    """Return a metric's key as the page shows it: ``mask_AP`` is "mask AP", and ``AP`` is "box AP"."""
    return f"mask {key.removeprefix('mask_')}" if key.startswith("mask_") else f"box {key}"


def by_metric(evaluation: Evaluation, name: str = "AP50") -> list[ClassAnalysis]:
    """Return the classes for which a metric is defined, the highest value first; ties keep their order."""
    key = metric(evaluation.kind, name)
    defined = [found for found in evaluation.classes if found.metrics.get(key, -1.0) >= 0]
    return sorted(defined, key=lambda found: -found.metrics[key])


def lines_of_classes(
    evaluation: Evaluation, points: Callable[[ClassAnalysis], Sequence[Point] | None]
) -> tuple[list[Line], bool]:
    """Return a line for each class, and whether some of them are thin and without a name.

    With more than seven classes the three with the highest AP50 and the four with the lowest have a color; the others
    are thin.

    Args:
        evaluation: with the classes.
        points: returns the points of a class, or None if it has no line.
    """
    ranked = by_metric(evaluation)
    if len(ranked) <= LARGEST_WITH_ALL:
        named = {found.category for found in ranked}
    else:
        named = {found.category for found in (*ranked[:BEST], *ranked[-LOWEST:])}
    styles = {
        found.category: 1 + number
        for number, found in enumerate(found for found in evaluation.classes if found.category in named)
    }
    with_thin = len(ranked) <= LARGEST_WITH_THIN
    shown = [found for found in ranked if found.category in named or with_thin]
    lines = [(found, points(found)) for found in sorted(shown, key=lambda found: found.category)]
    drawn = [Line(found.name, line, styles.get(found.category)) for found, line in lines if line]
    return drawn, len(ranked) > len(named)
