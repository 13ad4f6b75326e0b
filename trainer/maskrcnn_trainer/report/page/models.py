"""Section with every model of the experiment side by side."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import ModelRow
from maskrcnn_trainer.report.page.layout import Section, bar_cell, note, paragraph, path, table, value
from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.numbers import DASH, NOT_RECORDED, count, fraction, measured

METRICS = (("mask_AP", "mask AP"), ("mask_AP50", "mask AP50"), ("AP", "box AP"), ("AP50", "box AP50"))


def models(rows: Sequence[ModelRow], evaluation: str | None) -> Section:
    """Return the section with accuracy, size, and speed of each model.

    Args:
        rows: the models.
        evaluation: step whose evaluation the page is about; None without one.
    """
    lead = (
        "Accuracy on the validation set, size of the file, number of weights, and images/s of its evaluation on the "
        "hardware that ran it: other work on the machine lowers it, so measure again before you decide by it. A "
        "checkpoint of train has the state of the optimizer too, which about doubles its size. Take the smallest "
        "and fastest model whose AP is sufficient. A model without an AP has no evaluate step: add one for it to the "
        "experiment."
    )
    if not rows:
        return Section("models", "Models side by side", note("Models: ", NOT_RECORDED, "."))
    headers = ("model", *(name for _, name in METRICS), "size", "weights", "images/s", "made by", "evaluated by")
    return Section(
        "models",
        "Models side by side",
        joined([paragraph(lead), table(headers, [_row(row, evaluation) for row in rows], label="Models")]),
    )


def _row(row: ModelRow, evaluation: str | None) -> list[str]:
    return [
        _named(row), *(_metric(row.metrics.get(key)) for key, _ in METRICS),
        measured(row.megabytes, "MB"), count(row.parameters), measured(row.images_per_second),
        _step(row.step or DASH), _step(_evaluated_by(row.evaluation, evaluation)),
    ]  # fmt: skip


def _named(row: ModelRow) -> Markup:
    return joined([value(row.kind), element("small", path(row.path), class_="file")])


def _step(content: str) -> Markup:
    return element("span", value(content), class_="step")


def _evaluated_by(step: str | None, shown: str | None) -> str:
    if step is None:
        return DASH
    return f"{step} (this page)" if step == shown else step


def _metric(value: float | None) -> Markup:
    return NOT_RECORDED if value is None else bar_cell(fraction(value), value)
