"""Sections with precision over recall, and with F1 over the score."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import ClassAnalysis, Evaluation, OperatingPoint, PrecisionRecall
from maskrcnn_trainer.report.page.class_lines import KIND_NAMES, lines_of_classes
from maskrcnn_trainer.report.page.layout import Nesting, Section, figure, grid, note, paragraph
from maskrcnn_trainer.report.page.line_chart import Line, Point, line_chart
from maskrcnn_trainer.report.page.markup import Markup, element, joined
from maskrcnn_trainer.report.page.numbers import fraction
from maskrcnn_trainer.report.page.scales import Axis, axis
from maskrcnn_trainer.report.page.thresholds import classes_of_their_own, how_exact

_RECALLS = 101
THIN = "With more than seven classes, the three with the highest AP50 and the four with the lowest have a color."
UNIT_TICKS = 5


def precision_recall(evaluation: Evaluation) -> Section:
    """Return the section with precision over recall at each IoU."""
    kind = KIND_NAMES[evaluation.kind]
    lead = (
        f"Precision is the share of detections that are right; recall is the share of objects that are found. Each "
        f"curve follows the detections from the highest score to the lowest, with matches by {kind} IoU; the area "
        f"below it is AP at that IoU. A curve that drops early misses objects; one that is low at its start has false "
        f"detections with high scores."
    )
    curves = [found for found in evaluation.precision_recall if found.overall is not None or found.by_class]
    if not curves:
        content = note("There are no objects, so precision and recall aren't defined.")
    else:
        content = grid(*(_precision_recall(evaluation, found) for found in curves))
    return Section("precision-recall", "Precision and recall", joined([paragraph(lead), content]))


def recall_points(precision: Sequence[float]) -> list[Point]:
    """Return precision at COCO's 101 recalls as points."""
    return [(index / (_RECALLS - 1), value) for index, value in enumerate(precision)]


def unit_axis(label: str) -> Axis:
    """Return an axis from 0 to 1."""
    return axis(label, low=0.0, high=1.0, ticks=UNIT_TICKS)


def _precision_recall(evaluation: Evaluation, found: PrecisionRecall) -> Markup:
    def points(one: ClassAnalysis) -> Sequence[Point] | None:
        precision = found.by_class.get(one.category)
        return None if precision is None else recall_points(precision)

    classes, thin = lines_of_classes(evaluation, points)
    overall = [Line("mean of the classes", recall_points(found.overall), 0)] if found.overall is not None else []
    title = f"Precision over recall at IoU {found.iou:g}"
    drawn = line_chart(title, [*classes, *overall], unit_axis("recall"), unit_axis("precision"))
    return figure(title, drawn, THIN if thin else None)


def operating_point(evaluation: Evaluation, place: Nesting) -> Section:
    """Return the section with F1 over the score, and the score that maximizes it."""
    point = evaluation.operating_point
    kind = KIND_NAMES[evaluation.kind]
    lead = (
        f"F1 is the harmonic mean of precision and recall of the detections from a score on, matched at {kind} IoU "
        f"0.5. “Overall” pools the counts over the classes. Use the best score as the threshold of an inference, or a "
        f"higher one where false detections cost more than missed objects."
    )
    classes = classes_of_their_own(evaluation)
    content = [paragraph(lead), _best(point, place), None if classes is None else paragraph(classes)]
    if point.scores:
        content.append(grid(_overall(point), _by_class(evaluation)))
    return Section("f1", "Best score", joined(content))


def score_points(point: OperatingPoint, values: Sequence[float | None]) -> list[Point]:
    """Return values at the thresholds as points."""
    return list(zip(point.scores, values, strict=False))


def _best(point: OperatingPoint, place: Nesting) -> Markup:
    if point.best_score is None:
        return paragraph("Nothing was detected, so there is no best score.")
    return paragraph(
        "The best score is ", element("b", fraction(point.best_score)), ", with an F1 of ",
        element("b", fraction(point.best_f1)), ". It was picked on this very set, so F1 on other images is likely to "
        "be lower. ", how_exact(point), " The best score of each class is in the ",
        place.link("metrics", "table of classes"), ".",
    )  # fmt: skip


def _overall(point: OperatingPoint) -> Markup:
    named = (("F1", point.f1), ("precision", point.precision), ("recall", point.recall))
    lines = [Line(name, score_points(point, values), number) for number, (name, values) in enumerate(named)]
    drawn = line_chart("Overall", lines, unit_axis("score"), unit_axis("share"), mark=point.best_score)
    return figure("Overall", drawn, "The dashed vertical line is the best score.")


def _by_class(evaluation: Evaluation) -> Markup:
    classes, thin = lines_of_classes(evaluation, lambda one: score_points(one.operating_point, one.operating_point.f1))
    drawn = line_chart("F1 by class", classes, unit_axis("score"), unit_axis("F1"))
    return figure("F1 by class", drawn, THIN if thin else None)
