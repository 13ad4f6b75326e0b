from __future__ import annotations

from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import Evaluation, PrecisionRecall
from maskrcnn_trainer.report.page.curves import operating_point, precision_recall, recall_points
from maskrcnn_trainer.report.page.layout import Nesting

EVALUATION = sample.evaluation(with_pictures=False)


def titles(drawn: str) -> list[str]:
    return [text for path, text in read(drawn).texts if path.endswith("figure/b")]


def f1(evaluation: Evaluation) -> str:
    return operating_point(evaluation, Nesting()).drawn(Nesting())


def test_precision_has_a_chart_at_each_iou() -> None:
    drawn = precision_recall(EVALUATION).drawn(Nesting())
    assert titles(drawn) == ["Precision over recall at IoU 0.5", "Precision over recall at IoU 0.75"]
    assert words(drawn).count("mean of the classes") == 4, "line and legend of each chart"


def test_recalls_go_from_0_to_1() -> None:
    points = recall_points((1.0,) * 101)
    assert (points[0], points[50][0], points[-1]) == ((0.0, 1.0), 0.5, (1.0, 1.0))


def test_evaluation_without_objects_has_no_chart() -> None:
    empty = tuple(PrecisionRecall(iou, None, {}) for iou in (0.5, 0.75))
    drawn = precision_recall(replace(EVALUATION, precision_recall=empty)).drawn(Nesting())
    assert titles(drawn) == []
    assert "There are no objects" in words(drawn)


def test_f1_is_drawn_overall_and_by_class_with_the_best_score() -> None:
    point = replace(EVALUATION.operating_point, best_score=0.62, best_f1=0.71)
    drawn = f1(replace(EVALUATION, operating_point=point))
    assert titles(drawn) == ["Overall", "F1 by class"]
    assert drawn.count('class="mark"') == 1
    assert "The best score is 0.620, with an F1 of 0.710. It was picked on this very set" in words(drawn)


def test_nothing_detected_has_no_best_score() -> None:
    evaluation = sample.nothing_detected().evaluation
    assert evaluation is not None
    assert "Nothing was detected, so there is no best score." in words(f1(evaluation))
