"""Axes of charts: bounds, ticks at round numbers, and their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

TICK_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
SMALLEST_DRAWN, LARGEST_DRAWN = 1e-30, 1e30


@dataclass(frozen=True)
class Axis:
    """Axis of a chart.

    Attributes:
        label: quantity and unit.
        low, high: bounds, low < high.
        ticks: values with a label, ascending, within the bounds.
        step: distance of the ticks.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    step: float

    def at(self, value: float) -> float:
        """Return the position of a value, 0 at ``low`` and 1 at ``high``; values beyond are moved to the bound."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def texts(self) -> tuple[str, ...]:
        """Return the labels of the ticks."""
        return tuple(tick_text(tick, self.step) for tick in self.ticks)


def axis(
    label: str, values: Iterable[float | None] = (), *, low: float | None = None, high: float | None = None,
    ticks: int = 5, whole: bool = False,
) -> Axis:  # fmt: skip
    """Return an axis that covers all values that can be drawn.

    The ticks lie at multiples of 1, 2, 2.5, or 5 times a power of ten.

    Args:
        label: quantity and unit.
        values: values to cover.
        low: given lower bound; without it the bound follows from the values and lies on a tick.
        high: given upper bound, as ``low``.
        ticks: largest number of intervals.
        whole: whether the quantity counts things, so that ticks are whole numbers.
    """
    finite = [value for value in values if is_drawn(value)]
    start = low if low is not None else min(finite, default=0.0)
    end = high if high is not None else max(finite, default=1.0)
    if end - start <= max(abs(start) * 1e-9, SMALLEST_DRAWN):
        end = start + (abs(start) if abs(start) > SMALLEST_DRAWN else 1.0)
    step = _step((end - start) / ticks)
    step = float(math.ceil(step)) if whole else step
    first, last = math.floor(start / step + 1e-9), math.ceil(end / step - 1e-9)
    bottom, top = low if low is not None else first * step, high if high is not None else last * step
    margin = step * 1e-6
    at = tuple(number * step for number in range(first, last + 1) if bottom - margin <= number * step <= top + margin)
    return Axis(label, bottom, top if top > bottom else bottom + step, at, step)


def is_drawn(value: float | None) -> TypeGuard[float]:
    """Return whether a value has a place in a chart: a number that is finite and at most LARGEST_DRAWN."""
    return value is not None and math.isfinite(value) and abs(value) <= LARGEST_DRAWN


def tick_text(value: float, step: float) -> str:
    """Return the label of a tick with as many decimals as the distance of the ticks needs."""
    largest = max(abs(value), step)
    if largest >= 1e6 or step < 1e-4:
        # steps are two digits long at most, such as 2.5
        digits = max(3, math.floor(math.log10(largest)) - math.floor(math.log10(step)) + 2)
        return "0" if abs(value) < step / 2 else f"{value:.{digits}g}".replace("e+0", "e").replace("e-0", "e-")
    decimals = next(digits for digits in range(6) if math.isclose(round(step, digits), step, rel_tol=1e-6))
    return f"{value + 0.0:,.{decimals}f}"


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step for step in TICK_STEPS if rough <= step * power * (1 + 1e-9)) * power
