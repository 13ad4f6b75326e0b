"""Sentences about the score from which detections count: how exact it is, and which classes need their own."""

from __future__ import annotations

from maskrcnn_trainer.report.content import Evaluation, OperatingPoint
from maskrcnn_trainer.report.page.layout import named, sentence
from maskrcnn_trainer.report.page.markup import Markup, joined
from maskrcnn_trainer.report.page.numbers import fraction

SMALLEST_F1_GAIN = 0.05
"""F1 that a class must gain from its own score to be named."""

MOST_CLASSES = 5


def how_exact(point: OperatingPoint) -> str:
    """Return which other scores are as good as the best one, and that they are of this model only."""
    equal = point.equally_good
    good = "" if equal is None or equal[0] == equal[1] else (
        f"Scores from {fraction(equal[0])} to {fraction(equal[1])} are equally good: F1 is within 0.01 of the best. "
    )  # fmt: skip
    return f"{good}The best score is of this model only: another one, such as an export, has its own."


def classes_of_their_own(evaluation: Evaluation) -> Markup | None:
    """Return which classes gain the most F1 from their own best score; None if none gains 0.05 or more."""
    gaining = sorted(
        (found for found in evaluation.classes if found.f1_gain is not None and found.f1_gain >= SMALLEST_F1_GAIN),
        key=lambda found: -(found.f1_gain or 0.0),
    )
    if not gaining:
        return None
    parts = [
        joined([named(found.name), f" ({fraction(found.operating_point.best_score)}, F1 {fraction(found.f1_gain)} "
                "higher)"])
        for found in gaining[:MOST_CLASSES]
    ]  # fmt: skip
    classes = "Classes" if len(gaining) > 1 else "A class"
    more = ", and others in the table of classes" if len(gaining) > MOST_CLASSES else ""
    return joined([f"{classes} for which another score is better: ", sentence(parts), more, "."])
