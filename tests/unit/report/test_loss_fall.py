"""Losses that still fall at the end of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from maskrcnn_trainer.report.content import Curve
from maskrcnn_trainer.report.loss_fall import loss_fall
from maskrcnn_trainer.report.trainings import training_history
from maskrcnn_trainer.results.history import History, HistoryWindow


def fall(values: Sequence[float | None]) -> float | None:
    return loss_fall(Curve("total_loss", tuple(float(step) for step in range(1, len(values) + 1)), tuple(values)))


def test_fall_is_that_of_the_mean_of_the_last_tenth() -> None:
    assert fall([2.0] * 16 + [1.0, 1.0, 0.9, 0.98]) == pytest.approx(0.06)


def test_noise_is_no_fall() -> None:
    noise = np.random.default_rng(1).normal(1.0, 0.1, (200, 100))
    assert sum(fall(values.tolist()) is not None for values in noise) < 10
    assert fall((np.linspace(1.3, 0.7, 100) + noise[0] - 1.0).tolist()) is not None


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [1.0] * 20, [1.0] * 18 + [0.99] * 2, [1.0] * 18 + [1.5] * 2, [2.0, 1.9, 1.5, 1.2],
     [1.0] * 18 + [None, 0.5]],
)  # fmt: skip
def test_small_fall_rise_and_few_values_are_no_fall(values: list[float | None]) -> None:
    assert fall(values) is None


def test_only_the_total_loss_of_a_training_counts() -> None:
    values = [2.0] * 16 + [1.0, 1.0, 0.9, 0.9]
    for name, expected in (("total_loss", 0.1), ("mask_loss", None)):
        windows = tuple(HistoryWindow(at, {name: value}, None, None) for at, value in enumerate(values, start=1))
        found = training_history("train", History(windows, ())).loss_fall
        assert found == (expected and pytest.approx(expected))
