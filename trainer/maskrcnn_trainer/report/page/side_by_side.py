"""Section that compares several experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskrcnn_trainer.report.content import Curve, Evaluation, Experiment, Report, TrainingHistory
from maskrcnn_trainer.report.page.advice import NAMES, ranked_types
from maskrcnn_trainer.report.page.class_lines import in_words, metric
from maskrcnn_trainer.report.page.curves import recall_points, score_points, unit_axis
from maskrcnn_trainer.report.page.errors import errors_of
from maskrcnn_trainer.report.page.layout import (
    Nesting,
    Section,
    bar_cell,
    figure,
    grid,
    heading,
    note,
    paragraph,
    table,
)
from maskrcnn_trainer.report.page.line_chart import Line, Point, line_chart
from maskrcnn_trainer.report.page.markup import Markup, element, joined, shortened
from maskrcnn_trainer.report.page.models import METRICS
from maskrcnn_trainer.report.page.numbers import DASH, NOT_RECORDED, count, fraction, points
from maskrcnn_trainer.report.page.scales import Axis, axis
from maskrcnn_trainer.report.page.setup import spec_differences
from maskrcnn_trainer.report.page.training import (
    are_few,
    checkpoints,
    curve_points,
    step_axis,
    table_over_steps,
    training_of,
)


def side_by_side(report: Report, places: Sequence[Nesting]) -> Section:
    """Return the section with metrics, differences of the specs, and curves of all experiments."""
    names = [experiment.name for experiment in report.experiments]
    parts = [
        paragraph("Metrics of the experiments, the fields of their specs that differ, and their curves in one chart."),
        _comparable(report.comparable),
        _metrics(report.experiments, places),
        heading(Nesting(), "Differences of the specs"),
        spec_differences(report.differences, names),
        heading(Nesting(), "Curves"),
        paragraph("Losses and AP are those of the training that made the evaluated model."),
        _curves(report.experiments),
    ]
    return Section("side-by-side", "Side by side", joined(parts))


def _comparable(comparable: bool | None) -> Markup:
    if comparable is None:
        return note("Use of the same validation set by all experiments: ", NOT_RECORDED, ". Compare metrics with care.")
    if comparable:
        return note("All experiments were evaluated on the same validation set.")
    return paragraph(
        element("span", "not comparable", class_="badge"),
        " The experiments were evaluated on different validation sets: a higher AP doesn't mean a better model.",
    )


def _metrics(experiments: Sequence[Experiment], places: Sequence[Nesting]) -> Markup:
    headers = ("experiment", *(name for _, name in METRICS), "best F1", "at score", "largest error", "points", "images")
    rows = [
        [place.link("summary", shortened(experiment.name, 80)), *_row(experiment.evaluation)]
        for experiment, place in zip(experiments, places, strict=True)
    ]
    return table(headers, rows, label="Metrics of the experiments")


def _row(evaluation: Evaluation | None) -> list[str]:
    if evaluation is None:
        return [NOT_RECORDED] * (len(METRICS) + 5)
    metrics = [evaluation.metrics.get(key) for key, _ in METRICS]
    found = errors_of(evaluation, evaluation.kind)
    first = next(iter(ranked_types(found)), None)
    point = evaluation.operating_point
    return [
        *(NOT_RECORDED if number is None else bar_cell(fraction(number), number) for number in metrics),
        fraction(point.best_f1), fraction(point.best_score),
        NAMES[first] if first else DASH, points(found.lost[first]) if found and first else DASH,
        count(evaluation.images),
    ]  # fmt: skip


def _curves(experiments: Sequence[Experiment]) -> Markup:
    name = _shared_metric(experiments)
    losses = _lines(experiments, lambda one: _points(_of_training(one, lambda history: history.losses[:1])))
    evaluated = _lines(experiments, lambda one: _points(_of_training(one, lambda history: checkpoints(history, name))))
    recall, f1 = _lines(experiments, _precision), _lines(experiments, _f1)
    steps = step_axis([x for line in (*losses, *evaluated) for x, _ in line.points])
    loss = axis("loss", [0.0, *(y for line in losses for _, y in line.points)])
    checked = axis("AP", [0.0, *(y for line in evaluated for _, y in line.points)])
    charts = (
        ("Total loss", losses, steps, loss),
        (f"{in_words(name).capitalize().replace('ap', 'AP')} of the checkpoints", evaluated, steps, checked),
        ("Precision over recall at IoU 0.5", recall, unit_axis("recall"), unit_axis("precision")),
        ("F1 over the score", f1, unit_axis("score"), unit_axis("F1")),
    )
    drawn = [
        figure(title, _chart(title, lines, horizontal, vertical))
        for title, lines, horizontal, vertical in charts if lines
    ]  # fmt: skip
    missing = [title for title, lines, *_ in charts if not lines]
    absent = note("; ".join(missing), ": ", NOT_RECORDED, ".") if missing else None
    return joined([grid(*drawn) if drawn else None, absent])


def _chart(title: str, lines: Sequence[Line], horizontal: Axis, vertical: Axis) -> Markup:
    if lines and vertical.label == "AP" and are_few(line.points for line in lines):
        return table_over_steps(title, [(line.name, line.points) for line in lines])
    return line_chart(title, lines, horizontal, vertical, named=True)


def _shared_metric(experiments: Sequence[Experiment]) -> str:
    """Return the metric of the checkpoints that all experiments have: of masks, unless one has boxes alone."""
    kinds = {one.evaluation.kind for one in experiments if one.evaluation}
    return metric("bbox" if "bbox" in kinds else "segm", "AP")


def _lines(experiments: Sequence[Experiment], points: Callable[[Experiment], Sequence[Point]]) -> list[Line]:
    lines = [Line(one.name, points(one), number) for number, one in enumerate(experiments)]
    return [line for line in lines if line.points]


def _of_training(
    experiment: Experiment, curves: Callable[[TrainingHistory], Sequence[Curve]]
) -> Sequence[Curve]:  # fmt: skip
    history = training_of(experiment)
    return curves(history) if history else ()


def _points(curves: Sequence[Curve]) -> Sequence[Point]:
    return curve_points(curves[0]) if curves else ()


def _precision(experiment: Experiment) -> Sequence[Point]:
    found = experiment.evaluation.precision_recall if experiment.evaluation else ()
    return next((recall_points(one.overall) for one in found if one.iou == 0.5 and one.overall is not None), ())


def _f1(experiment: Experiment) -> Sequence[Point]:
    if experiment.evaluation is None:
        return ()
    point = experiment.evaluation.operating_point
    return score_points(point, point.f1)
