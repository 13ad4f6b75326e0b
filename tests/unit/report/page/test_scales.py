from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskrcnn_trainer.report.page.scales import Axis, axis, tick_text


def test_bounds_lie_on_round_ticks() -> None:
    found = axis("loss", [0.13, 3.61])
    assert (found.low, found.high, found.texts()) == (0.0, 4.0, ("0", "1", "2", "3", "4"))


def test_given_bounds_are_kept() -> None:
    found = axis("step", [], low=0, high=530, ticks=4)
    assert (found.low, found.high, found.texts()) == (0, 530, ("0", "200", "400"))


def test_counts_have_whole_ticks() -> None:
    assert axis("objects", [2], low=0, ticks=4, whole=True).texts() == ("0", "1", "2")


@pytest.mark.parametrize("values", [[], [None], [math.nan, math.inf], [7.0], [0.0, 0.0]])
def test_axis_without_a_range_has_one(values: list[float | None]) -> None:
    found = axis("loss", values)
    assert found.low < found.high
    assert found.ticks


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5))
def test_every_axis_has_few_ticks_within_its_bounds(values: list[float]) -> None:
    found = axis("loss", values)
    assert found.low < found.high
    assert 1 <= len(found.ticks) <= 8
    assert all(-1e-6 <= (tick - found.low) / (found.high - found.low) <= 1 + 1e-6 for tick in found.ticks)
    assert len(set(found.texts())) == len(found.ticks)


def test_position_is_moved_to_the_bounds() -> None:
    found = Axis("score", 0.0, 2.0, (0.0,), 1.0)
    assert [found.at(value) for value in (-1.0, 0.5, 9.0)] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize(
    ("value", "step", "shown"),
    [
        (0.0, 0.25, "0.00"), (0.25, 0.25, "0.25"), (15000.0, 5000.0, "15,000"), (2e6, 1e6, "2e6"),
        (-1.605e16, 5e13, "-1.605e+16"), (1.5875e16, 2.5e13, "1.5875e+16"),
        (3e-5, 1e-5, "3e-5"), (-0.0, 1.0, "0"),
    ],
)  # fmt: skip
def test_label_has_the_decimals_of_its_step(value: float, step: float, shown: str) -> None:
    assert tick_text(value, step) == shown
