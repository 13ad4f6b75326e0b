"""Section about the scores: how often a detection with a given score is right."""

from __future__ import annotations

from collections.abc import Sequence

from maskrcnn_trainer.report.content import Evaluation, ScoreError
from maskrcnn_trainer.report.page.class_lines import KIND_NAMES
from maskrcnn_trainer.report.page.curves import unit_axis
from maskrcnn_trainer.report.page.layout import Section, figure, grid, note, paragraph, sentence, table
from maskrcnn_trainer.report.page.line_chart import Line, line_chart
from maskrcnn_trainer.report.page.markup import element, joined
from maskrcnn_trainer.report.page.numbers import count, fraction


def reliability(evaluation: Evaluation) -> Section:
    """Return the section with the reliability diagram."""
    lead = (
        f"Detections in ten bins of their score. A detection is right if it matches an object of its class at "
        f"{KIND_NAMES[evaluation.kind]} IoU 0.5. On the diagonal a score is the probability of being right. Below it "
        f"the scores are too high: choose a threshold by the best score above, and don't read a score as a "
        f"probability. A bin with few detections proves little."
    )
    bins = evaluation.reliability
    filled = [one for one in bins if one.precision is not None and one.mean_score is not None]
    if not filled:
        return Section("reliability", "Reliability of scores", joined([paragraph(lead), note("Nothing was detected.")]))
    measured = [(one.mean_score, one.precision) for one in filled if one.mean_score is not None]
    verdict = paragraph(element("b", _verdict(evaluation.score_errors)))
    lines = [Line("detections", measured, 1), Line("score = precision", [(0.0, 0.0), (1.0, 1.0)], 5)]
    drawn = line_chart("Reliability of scores", lines, unit_axis("mean score of the bin"), unit_axis("precision"))
    rows = [
        (f"{one.low:.1f} to {one.high:.1f}", count(one.detections), fraction(one.mean_score), fraction(one.precision))
        for one in bins
    ]
    numbers = table(("score", "detections", "mean score", "precision"), rows, label="Reliability of scores")
    return Section(
        "reliability",
        "Reliability of scores",
        joined([paragraph(lead), verdict, grid(figure("Reliability", drawn), numbers)]),
    )


def _verdict(errors: Sequence[ScoreError] | None) -> str:
    if errors is None:
        return "No bin has 20 detections, so it isn't known whether the scores are reliable."
    if not errors:
        return "Scores are reliable within 0.1, in the bins with at least 20 detections."
    parts = [
        f"between {one.low:.1f} and {one.high:.1f} scores are about {abs(one.excess):.2f} too "
        f"{'high' if one.excess > 0 else 'low'}"
        for one in errors
    ]
    return joined(["In the bins with at least 20 detections, ", sentence(parts), "."])
