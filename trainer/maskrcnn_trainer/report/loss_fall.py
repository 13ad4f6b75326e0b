"""Fall of the loss at the end of a training."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.report.content import Curve

FEWEST_VALUES = 2
SMALLEST_FALL = 0.02
"""Share of the loss; a longer training gains little from less."""

STANDARD_ERRORS = 2.0
NOISE_PART = 0.4
"""Last part of the steps whose differences give the noise."""

DEVIATIONS_PER_MEDIAN = 1.4826
"""Standard deviations of a normal distribution in a median absolute deviation (Rousseeuw and Croux 1993)."""


def loss_fall(loss: Curve) -> float | None:
    """Return the share by which the mean of the last tenth of the steps is below that of the tenth before.

    None if that is less than 2%, less than twice its standard error, or known from fewer than two values in each tenth.
    The noise is that of the differences of successive values, so that the fall itself hardly adds to it.

    Args:
        loss: total loss over the steps.
    """
    known = [(x, y) for x, y in zip(loss.x, loss.y, strict=True) if y is not None and math.isfinite(y)]
    steps, values = np.array(known, np.float64).reshape(-1, 2).T
    end = float(steps.max(initial=0.0))
    before = values[(steps > 0.8 * end) & (steps <= 0.9 * end)]
    last = values[steps > 0.9 * end]
    if min(len(before), len(last)) < FEWEST_VALUES or before.mean() <= 0:
        return None
    difference = float(before.mean() - last.mean())
    error = _deviation(values[steps > (1 - NOISE_PART) * end]) * math.sqrt(1 / len(before) + 1 / len(last))
    fall = difference / float(before.mean())
    return fall if fall >= SMALLEST_FALL and difference >= STANDARD_ERRORS * error else None


def _deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of values [N] around their course; a difference of two has twice its square."""
    return DEVIATIONS_PER_MEDIAN * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)
