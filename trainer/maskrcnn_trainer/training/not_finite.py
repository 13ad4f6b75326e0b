"""Error message of a training whose loss or gradients are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from maskrcnn_trainer.training.loss_scale import LEAST, STEPS_AT_LEAST

if TYPE_CHECKING:
    from maskrcnn_trainer.training.step import TrainStep

_ADVICE = "lower initLearningRate, lengthen the warm-up, or set globalGradientClipRatio"


def not_finite(number: int, measured: Mapping[str, float], step: TrainStep) -> str:
    """Return the message for the step after which training cannot continue.

    Args:
        number: of the step, from 1.
        measured: result of the step.
        step: the training step, which may have done more steps since.
    """
    total = measured["total_loss"]
    if not math.isfinite(total):
        return f"The loss is not a number at step {number} (total {total}); {_ADVICE}"
    name = step.overflowed_variable(measured)
    where = "their norm is too large for float32" if name is None else f"including that of {name}"
    if step.scales_loss:
        return (
            f"Gradients are not finite in the last {STEPS_AT_LEAST} steps, up to step {number} ({where}), and the loss "
            f"scale is {LEAST:g}, its minimum, so no weight changes; set useAmp to false, or {_ADVICE}"
        )
    return f"Gradients are not finite at step {number} ({where}; total loss {total:.4g}); {_ADVICE}"
