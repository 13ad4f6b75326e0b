"""Section with the points of AP50 that each type of error costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskrcnn_trainer.report.content import Errors, ErrorType, Evaluation, Kind
from maskrcnn_trainer.report.page.bars import Bar, bar_chart
from maskrcnn_trainer.report.page.class_lines import plural
from maskrcnn_trainer.report.page.layout import (
    Nesting,
    Section,
    bar_cell,
    figure,
    grid,
    heading,
    long_table,
    note,
    paragraph,
    table,
)
from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.numbers import count, points
from maskrcnn_trainer.report.page.scales import Axis, axis

TYPES: Mapping[ErrorType, tuple[str, str]] = {
    "Cls": ("class confusion", "a detection that covers an object of another class (IoU at least 0.5)"),
    "Loc": ("localization", "a detection of the right class that covers the object badly (IoU from 0.1 to 0.5)"),
    "Both": (
        "class and localization",
        "a detection of the wrong class that covers the object badly (IoU from 0.1 to 0.5)",
    ),
    "Dupe": ("duplicate", "a detection of an object that a detection with a higher score has matched"),
    "Bkg": ("background", "a detection where no object is (IoU below 0.1)"),
    "Miss": ("missed object", "an object that neither a detection nor one of the errors above covers"),
}


def errors(evaluation: Evaluation, place: Nesting) -> Section:
    """Return the section with the losses for boxes and for masks, overall and by class."""
    title = "Errors and what they cost"
    if not evaluation.errors:
        return Section("errors", title, note("No analysis of errors is there."))
    lead = (
        "By TIDE's definitions (Bolya et al., arXiv:2008.08115): at most 100 detections per image count, crowds are "
        "ignored. The cost of a type is the number of points (0 to 100) that AP50 gains if all errors of that type "
        "alone are corrected, so the costs don't add up. Start with the longest bar."
    )
    terms = [
        part
        for kind, (name, definition) in TYPES.items()
        for part in (element("dt", f"{kind}: {name}"), element("dd", definition))
    ]
    ordered = sorted(evaluation.errors, key=lambda found: found.kind != evaluation.kind)
    scale = _scale(ordered)
    parts = [
        paragraph(lead),
        grid(*(_bars(found, scale) for found in ordered)),
        element("dl", *terms, class_="terms"),
        heading(place, "Numbers"),
        _numbers(ordered),
    ]
    for found in ordered:
        if found.by_class:
            parts += [heading(place, f"By class, {plural(found.kind)}"), _by_class(evaluation, found)]
    return Section("errors", title, joined(parts))


def errors_of(evaluation: Evaluation, kind: Kind) -> Errors | None:
    """Return the analysis for boxes or for masks."""
    return next((found for found in evaluation.errors if found.kind == kind), None)


def _scale(all_errors: Sequence[Errors]) -> Axis:
    return axis("points of AP50", [value for found in all_errors for value in found.lost.values()], low=0.0, ticks=4)


def _bars(found: Errors, scale: Axis) -> Markup:
    bars = [Bar(kind, (found.lost.get(kind, 0.0),), points(found.lost.get(kind))) for kind in TYPES]
    title = f"{plural(found.kind).capitalize()}: AP50 is {points(found.ap50)} points"
    return figure(title, bar_chart(f"Cost of each type of error, {plural(found.kind)}", bars, scale))


def _numbers(all_errors: Sequence[Errors]) -> Markup:
    headers = ["type", *(f"{plural(found.kind)}: {unit}" for found in all_errors for unit in ("points", "errors"))]
    rows = [[f"{kind}: {name}", *_both(all_errors, kind)] for kind, (name, _) in TYPES.items()]
    for label, costs in (
        ("all false detections", [found.false_positives for found in all_errors]),
        ("all missed objects", [found.false_negatives for found in all_errors]),
    ):
        rows.append([label, *(cell for cost in costs for cell in (points(cost), ""))])
    return table(headers, rows, label="Cost and number of errors by type")


def _both(all_errors: Sequence[Errors], kind: ErrorType) -> list[str]:
    return [cell for found in all_errors for cell in (points(found.lost.get(kind)), count(found.counts.get(kind)))]


def _by_class(evaluation: Evaluation, found: Errors) -> Markup:
    lead = (
        "Points that each type costs of the class's own AP50, the class with the highest cost first. TIDE itself has "
        "no such table; the same corrections are counted for each class alone."
    )
    supports = {one.category: one for one in evaluation.classes}
    longest = max((value for lost in found.by_class.values() for value in lost.values()), default=0.0) or 1.0
    ranked = sorted(found.by_class.items(), key=lambda item: -max(item[1].values(), default=0.0))
    rows = [
        [supports[category].name if category in supports else f"class {category}",
         count(supports[category].objects if category in supports else None),
         *(bar_cell(points(lost.get(kind)), lost.get(kind, 0.0) / longest) for kind in TYPES)]
        for category, lost in ranked
    ]  # fmt: skip
    label = f"Points lost by class, {plural(found.kind)}"
    return joined([paragraph(lead), long_table(("class", "support", *TYPES), rows, label=label)])
