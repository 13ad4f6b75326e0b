"""Section with the curves of each training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from maskrcnn_trainer.report.content import Curve, Experiment, TrainingHistory
from maskrcnn_trainer.report.page.class_lines import in_words
from maskrcnn_trainer.report.page.layout import Nesting, Section, figure, grid, heading, note, paragraph, table
from maskrcnn_trainer.report.page.line_chart import Line, Point, line_chart
from maskrcnn_trainer.report.page.markup import Markup, joined, shortened
from maskrcnn_trainer.report.page.numbers import NOT_RECORDED, count, fraction
from maskrcnn_trainer.report.page.scales import Axis, axis, is_drawn

STEP = "training step"
PARTS_TITLE = "Parts of the loss"
AP_TITLE = "AP of the checkpoints"
FEWEST_POINTS = 3
"""Points from which on an AP is a curve; fewer are a table."""
LEAD = (
    "Curves over the training steps. If a loss still falls, or an AP still rises at the end, train for more steps. If "
    "a loss jumps or rises, lower the learning rate. If an AP falls while the loss falls, the model overfits: use more "
    "images, or augmentation."
)
PARTS = (
    "Those that begin with rpn are of the proposals, those with fast_rcnn of the class and the box of each proposal; "
    "l1 and l2 are the weight decay, which isn't an error of the model."
)


def training(experiment: Experiment, place: Nesting) -> Section:
    """Return the section with losses, learning rate, AP, and images/s of each training."""
    if not experiment.trainings:
        return Section(
            "training", "Training curves", note("Losses, learning rate, and AP over steps: ", NOT_RECORDED, ".")
        )
    parts = [paragraph(LEAD)]
    for history in experiment.trainings:
        parts += [heading(place, f"Step {history.step}"), _curves(history)]
    return Section("training", "Training curves", joined(parts))


def curve_points(curve: Curve) -> Sequence[Point]:
    """Return the points of a curve."""
    return list(zip(curve.x, curve.y, strict=False))


def training_of(experiment: Experiment) -> TrainingHistory | None:
    """Return the training whose step is a directory in the evaluated model's path; else the last, if there is any."""
    folders = PurePosixPath(experiment.evaluation.model).parts if experiment.evaluation else ()
    named_in_path = [history for history in experiment.trainings if history.step in folders]
    return next(reversed([*experiment.trainings, *named_in_path]), None)


def checkpoints(history: TrainingHistory, key: str) -> list[Curve]:
    """Return the curve of a metric such as ``mask_AP`` over the checkpoints, if it is there."""
    return [curve for curve in history.evaluations if curve.name in (key, key.replace("_", " "), in_words(key))][:1]


def _curves(history: TrainingHistory) -> Markup:
    parts, zero = _without_zero(history.losses[1:])
    charts = (
        ("Total loss", "loss", history.losses[:1]),
        (PARTS_TITLE, "loss", parts),
        (AP_TITLE, "AP", history.evaluations),
        ("Learning rate", "learning rate", [history.learning_rate] if history.learning_rate else []),
        ("Throughput", "images/s", [history.images_per_second] if history.images_per_second else []),
    )
    figures = []
    missing = []
    for title, unit, curves in charts:
        if any(curve.x for curve in curves):
            caption = [PARTS, zero] if title == PARTS_TITLE else []
            figures.append(figure(title, _drawn(title, unit, curves), *filter(None, caption)))
        else:
            missing.append(title)
    absent = note(", ".join(missing), ": ", NOT_RECORDED, ".") if missing else None
    return joined([grid(*figures) if figures else None, absent])


def _without_zero(curves: Sequence[Curve]) -> tuple[Sequence[Curve], str | None]:
    """Return the curves that aren't zero everywhere, and a sentence with the names of the others."""
    kept = [curve for curve in curves if any(y != 0 for y in curve.y)]
    zero = [shortened(curve.name, 80) for curve in curves if curve.y and all(y == 0 for y in curve.y)]
    if not kept or not zero:
        return curves, None
    return kept, f" Zero at all steps, and not drawn: {', '.join(zero)}."


def _drawn(title: str, unit: str, curves: Sequence[Curve]) -> Markup:
    if title == AP_TITLE and are_few(map(curve_points, curves)):
        return table_over_steps(title, [(curve.name, curve_points(curve)) for curve in curves])
    return curves_over_steps(title, unit, curves)


def are_few(lines: Iterable[Sequence[Point]]) -> bool:
    """Return whether every line has so few points that a table shows them better than a chart."""
    return max(map(len, lines), default=0) < FEWEST_POINTS


def table_over_steps(title: str, lines: Sequence[tuple[str, Sequence[Point]]]) -> Markup:
    """Return a table with a row for each training step and a column for each named line."""
    values = [(name, dict(points)) for name, points in lines]
    steps = sorted({x for _, found in values for x in found if is_drawn(x)})
    rows = [[count(round(step)), *(fraction(found.get(step)) for _, found in values)] for step in steps]
    return table((STEP, *(name for name, _ in values)), rows, label=title)


def curves_over_steps(title: str, unit: str, curves: Sequence[Curve]) -> Markup:
    """Return a chart of curves over training steps, from 0 to the last step."""
    steps = [x for curve in curves for x in curve.x]
    vertical = axis(unit, [0.0, *(y for curve in curves for y in curve.y)])
    lines = [Line(curve.name, curve_points(curve), number) for number, curve in enumerate(curves)]
    return line_chart(title, lines, step_axis(steps), vertical)


def step_axis(steps: Sequence[float]) -> Axis:
    """Return an axis from 0 to the last of some training steps."""
    return axis(STEP, low=0.0, high=max(filter(is_drawn, steps), default=1.0), ticks=4, whole=True)
