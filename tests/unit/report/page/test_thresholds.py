from __future__ import annotations

from dataclasses import replace

from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import words

from maskrcnn_trainer.report.page.advice import findings
from maskrcnn_trainer.report.page.curves import operating_point
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.thresholds import MOST_CLASSES, classes_of_their_own, how_exact

EVALUATION = sample.evaluation(with_pictures=False)
DISC, SQUARE, TRIANGLE = EVALUATION.classes
GAINING = replace(
    EVALUATION,
    operating_point=replace(EVALUATION.operating_point, equally_good=(0.17, 0.29)),
    classes=(
        replace(DISC, f1_gain=0.05, operating_point=replace(DISC.operating_point, best_score=0.6)),
        replace(SQUARE, f1_gain=0.049),
        replace(TRIANGLE, f1_gain=0.112, operating_point=replace(TRIANGLE.operating_point, best_score=0.31)),
    ),
)
CLASSES = (
    "Classes for which another score is better: triangle (0.310, F1 0.112 higher) and disc (0.600, F1 0.050 higher)."
)
EXACT = (
    "Scores from 0.170 to 0.290 are equally good: F1 is within 0.01 of the best. The best score is of this model only"
)


def test_equally_good_scores_and_classes_are_named_in_the_section_and_in_the_advice() -> None:
    section = words(operating_point(GAINING, Nesting()).drawn(Nesting()))
    experiment = replace(sample.experiment(with_pictures=False), evaluation=GAINING)
    advice = " ".join(words(finding) for finding in findings(experiment, Nesting()))
    assert (EXACT in section, CLASSES in section) == (True, True)
    assert (EXACT in advice, CLASSES in advice) == (True, True)


def test_single_best_score_has_no_range() -> None:
    point = replace(EVALUATION.operating_point, equally_good=(0.4, 0.4))
    assert how_exact(point).startswith("The best score is of this model only")


def test_classes_that_gain_little_are_not_named() -> None:
    assert classes_of_their_own(replace(EVALUATION, classes=(replace(DISC, f1_gain=0.04), SQUARE))) is None


def test_only_the_classes_that_gain_the_most_are_named() -> None:
    many = tuple(replace(DISC, name=f"c{at}", f1_gain=0.1 + at / 100) for at in range(MOST_CLASSES + 1))
    text = words(classes_of_their_own(replace(EVALUATION, classes=many)) or "")
    assert "c5" in text
    assert "c0" not in text
    assert text.endswith(", and others in the table of classes.")
