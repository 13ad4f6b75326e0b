"""Section with every model of the experiment side by side."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import ModelRow
from maskrcnn_trainer.report.page.layout import Section, bar_cell, note, paragraph, table
from maskrcnn_trainer.report.page.markup import Markup, joined
from maskrcnn_trainer.report.page.numbers import NOT_RECORDED, count, fraction, measured

METRICS = (("mask_AP", "mask AP"), ("mask_AP50", "mask AP50"), ("AP", "box AP"), ("AP50", "box AP50"))


def models(rows: Sequence[ModelRow]) -> Section:
    """Return the section with accuracy, size, and speed of each model."""
    lead = (
        "Accuracy on the validation set, size of the file, number of weights, and images/s of its evaluation on the "
        "hardware that ran it. Take the smallest and fastest model whose AP is sufficient. “Not recorded” means that "
        "no step evaluated the model."
    )
    if not rows:
        return Section("models", "Models side by side", note("Models: ", NOT_RECORDED, "."))
    headers = ("model", "step", "file", *(name for _, name in METRICS), "size", "weights", "images/s")
    return Section(
        "models",
        "Models side by side",
        joined([paragraph(lead), table(headers, [_row(row) for row in rows], label="Models", texts=3)]),
    )


def _row(row: ModelRow) -> list[str]:
    return [
        row.kind, row.step, row.path, *(_metric(row.metrics.get(key)) for key, _ in METRICS),
        measured(row.megabytes, "MB"), count(row.parameters), measured(row.images_per_second),
    ]  # fmt: skip


def _metric(value: float | None) -> Markup:
    return NOT_RECORDED if value is None else bar_cell(fraction(value), value)
