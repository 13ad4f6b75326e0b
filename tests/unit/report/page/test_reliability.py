from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.report.page import sample
from tests.unit.report.page.html_reading import read, words

from maskrcnn_trainer.report.content import ReliabilityBin, ScoreError
from maskrcnn_trainer.report.page.layout import Nesting
from maskrcnn_trainer.report.page.reliability import reliability

EMPTY = ReliabilityBin(0.0, 0.1, 0, None, None)
FILLED = ReliabilityBin(0.9, 1.0, 1200, 0.95, 0.81)


def drawn(*bins: ReliabilityBin) -> str:
    return reliability(replace(sample.evaluation(with_pictures=False), reliability=bins)).drawn(Nesting())


def test_bins_have_score_number_and_precision() -> None:
    text = words(drawn(EMPTY, FILLED))
    assert "0.0 to 0.10––" in text
    assert "0.9 to 1.01,2000.9500.810" in text


def test_empty_bin_has_no_point() -> None:
    made = drawn(EMPTY, FILLED).split("<ul")[0]
    assert made.count('class="m s1"') == 1


def test_diagonal_is_drawn_and_named() -> None:
    assert "score = precision" in words(drawn(FILLED))


def test_no_detections_have_no_diagram() -> None:
    made = drawn(EMPTY)
    assert "Nothing was detected." in words(made)
    assert read(made).tags["svg"] == 0


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((ScoreError(0.4, 0.6, 61, 0.18), ScoreError(0.9, 1.0, 30, -0.12)),
         "between 0.4 and 0.6 scores are about 0.18 too high and between 0.9 and 1.0 scores are about 0.12 too low."),
        ((), "Scores are reliable within 0.1, in the bins with at least 20 detections."),
        (None, "No bin has 20 detections, so it isn't known"),
    ],
)  # fmt: skip
def test_verdict_names_the_scores_that_are_wrong(errors: tuple[ScoreError, ...] | None, expected: str) -> None:
    evaluation = replace(sample.evaluation(with_pictures=False), reliability=(FILLED,), score_errors=errors)
    assert expected in words(reliability(evaluation).drawn(Nesting()))
