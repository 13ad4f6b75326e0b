"""The message of a training whose loss or gradients are not finite any more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from maskrcnn_trainer.training.loss_scale import LEAST, STEPS_AT_LEAST

if TYPE_CHECKING:
    import tensorflow as tf

    from maskrcnn_trainer.training.step import TrainStep

_ADVICE = "lower initLearningRate, lengthen the warm-up, or set globalGradientClipRatio"


def not_finite(number: int, measured: Mapping[str, tf.Tensor], step: TrainStep) -> str:
    """Return the sentence for the ``number``-th step (from 1), after which training cannot continue."""
    total = float(measured["total_loss"])
    if not math.isfinite(total):
        return f"The loss is not a number at step {number} (total {total}); {_ADVICE}"
    name = step.overflowed_variable(measured)
    where = "their norm is too large for float32" if name is None else f"that of {name} among them"
    if step.scales_loss:
        return (
            f"Gradients are not finite in the last {STEPS_AT_LEAST} steps, to step {number} ({where}), and the loss "
            f"scale is {LEAST:g}, its least, so no weight changes; set useAmp to false, or {_ADVICE}"
        )
    return f"Gradients are not finite at step {number} ({where}; total loss {total:.4g}); {_ADVICE}"
