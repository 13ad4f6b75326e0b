"""Section about the experiment: its facts, its spec, and its data."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import ClassCount, DataSet, Experiment, FieldDifference
from maskrcnn_trainer.report.page.bars import Bar, bar_chart
from maskrcnn_trainer.report.page.layout import (
    Nesting,
    Section,
    field_name,
    figure,
    grid,
    heading,
    listed,
    long_table,
    named,
    note,
    paragraph,
    table,
)
from maskrcnn_trainer.report.page.markup import Markup, element, joined, shortened
from maskrcnn_trainer.report.page.numbers import NOT_RECORDED, count
from maskrcnn_trainer.report.page.scales import axis

MOST_BARS = 20
SIZE_NAMES = ("small", "medium", "large")


def setup(experiment: Experiment, place: Nesting) -> Section:
    """Return the section that names what was trained on what."""
    parts = [
        paragraph("What was trained, on which data, and by which software. Compare it before you compare two results."),
        _facts(experiment),
        heading(place, "Differences from the default spec"),
        _whose_spec(experiment),
        spec_differences(experiment.differences, ("default", "this experiment")),
        heading(place, "Data"),
        _data(experiment.data),
    ]
    if experiment.notes:
        parts += [heading(place, "Notes on the inputs"), listed(experiment.notes)]
    return Section("setup", "What was trained on what", joined(parts))


def spec_differences(differences: Sequence[FieldDifference] | None, columns: Sequence[str]) -> Markup:
    """Return a table of fields and their values, or a sentence if there are none."""
    if differences is None:
        return paragraph(NOT_RECORDED, class_="note")
    if not differences:
        return paragraph("None: all fields have the same values.")
    rows = [
        [field_name(row.field), *(element("code", shortened(cell, 200)) for cell in row.values)] for row in differences
    ]
    return table(("field", *columns), rows, label="Differences of the spec", texts=1 + len(columns))


def _whose_spec(experiment: Experiment) -> Markup | None:
    if experiment.spec_step is None:
        return None
    return paragraph("The spec is that of step ", named(experiment.spec_step), "; fields that aren't listed have their "
                     "default.")  # fmt: skip


def _facts(experiment: Experiment) -> Markup:
    if not experiment.facts:
        return note("Hardware, seed, and versions: ", NOT_RECORDED, ".")
    return table(("fact", "value"), [(name, text) for name, text in experiment.facts.items()], label="Facts", texts=2)


def _data(sets: Sequence[DataSet]) -> Markup:
    if not sets:
        return note("Images and objects by class: ", NOT_RECORDED, ".")
    sized = any(row.small is not None for data in sets for row in data.classes)
    lead = (
        "Objects by class, without crowds. Small objects cover less than 32 × 32 pixels, large ones more than 96 × 96 "
        "(COCO's areas). A class with few objects usually has a low AP: more images of it are the first thing to try. "
        "Experiments that show the same digest used the same images and annotations."
    )
    figures = grid(*(_bars(data) for data in sets if data.classes))
    return joined([paragraph(lead), *(_images(data) for data in sets), figures, _by_class(sets, sized=sized)])


def _images(data: DataSet) -> Markup:
    digest = element("code", shortened(data.identity, 16)) if data.identity else NOT_RECORDED
    return paragraph(element("b", data.name), ": ", count(data.images), " images; digest: ", digest)


def _bars(data: DataSet) -> Markup:
    ranked = sorted(data.classes, key=lambda row: -row.objects)[:MOST_BARS]
    sized = all(None not in (row.small, row.medium, row.large) for row in ranked)
    bars = [Bar(row.name, _by_size(row) if sized else (row.objects,), count(row.objects)) for row in ranked]
    scale = axis("objects", [row.objects for row in ranked], low=0, ticks=4, whole=True)
    drawn = bar_chart(f"Objects by class, {data.name}", bars, scale, parts=SIZE_NAMES if sized else ())
    cut = len(ranked) < len(data.classes)
    return figure(
        f"Objects by class, {data.name}", drawn, "The most frequent classes; all are in the table." if cut else None
    )


def _by_size(row: ClassCount) -> tuple[float, ...]:
    return row.small or 0, row.medium or 0, row.large or 0


def _by_class(sets: Sequence[DataSet], *, sized: bool) -> Markup | None:
    rows: dict[int, dict[str, ClassCount]] = {}
    for data in sets:
        for row in data.classes:
            rows.setdefault(row.category, {})[data.name] = row
    if not rows:
        return note("Objects by class: ", NOT_RECORDED, ".")
    columns = ("objects", *SIZE_NAMES) if sized else ("objects",)
    cells = [
        [
            next(iter(found.values())).name,
            *(_count(found.get(data.name), column) for data in sets for column in columns),
        ]
        for _, found in sorted(rows.items())
    ]
    headers = [f"{data.name}: {column}" if column == "objects" else column for data in sets for column in columns]
    return long_table(("class", *headers), cells, label="Objects by class")


def _count(row: ClassCount | None, column: str) -> str:
    return NOT_RECORDED if row is None else count(getattr(row, column))
