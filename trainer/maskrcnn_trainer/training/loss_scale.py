"""Dynamic loss scaling for float16 (Micikevicius et al., arXiv:1710.03740, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

START = 2.0**15
GROWTH_STEPS = 2000
LARGEST = 2.0**60
LEAST = 1.0
STEPS_AT_LEAST = 20
"""Steps without an update at the least scale after which training has failed: no scale is left to try."""


class LossScale:
    """A factor on the loss that keeps small float16 gradients from vanishing.

    It doubles after ``growth_steps`` steps in a row with finite gradients and halves at each step without.

    Attributes:
        scale: float32 scalar variable, a power of two, at least 1.
        good_steps: int64 scalar variable, finite steps since the scale last changed.
    """

    def __init__(self, *, start: float = START, growth_steps: int = GROWTH_STEPS) -> None:
        self._growth_steps = growth_steps
        self.scale = tf.Variable(start, trainable=False, dtype=tf.float32, name="loss_scale/scale")
        self.good_steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="loss_scale/good_steps")
        self._skipped_at_least = tf.Variable(0, trainable=False, dtype=tf.int64, name="loss_scale/skipped_at_least")

    def update(self, finite: tf.Tensor) -> tf.Tensor:
        """Change the scale after a step.

        Args:
            finite: bool scalar, agreed on by all ranks: the step's gradients were finite.

        Returns:
            Bool scalar: False where no step of the last ``STEPS_AT_LEAST`` was, at the least scale.
        """
        skipped = tf.where(finite | (self.scale > LEAST), tf.zeros([], tf.int64), self._skipped_at_least + 1)
        self._skipped_at_least.assign(skipped)
        counted = self.good_steps + 1
        grown = counted >= self._growth_steps
        larger = tf.where(grown, tf.minimum(self.scale * 2.0, LARGEST), self.scale)
        self.scale.assign(tf.where(finite, larger, tf.maximum(self.scale * 0.5, LEAST)))
        self.good_steps.assign(tf.where(finite & ~grown, counted, tf.zeros_like(counted)))
        return skipped < STEPS_AT_LEAST

    @property
    def variables(self) -> list[tf.Variable]:
        return [self.scale, self.good_steps]

    def state(self) -> dict[str, NDArray[Any]]:
        """What a checkpoint keeps."""
        return {"loss_scale/scale": self.scale.numpy(), "loss_scale/good_steps": self.good_steps.numpy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what ``state`` returned.

        Raises:
            KeyError: an entry is missing.
        """
        self.scale.assign(state["loss_scale/scale"])
        self.good_steps.assign(state["loss_scale/good_steps"])
