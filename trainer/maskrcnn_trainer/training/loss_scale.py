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
"""Number of steps without an update at the smallest scale after which training fails."""


class LossScale:
    """Factor of the loss that prevents small float16 gradients from becoming zero.

    It doubles after ``growth_steps`` consecutive steps with finite gradients, and halves after each other step.

    Args:
        start: initial scale, a power of two.
        growth_steps: number of consecutive steps with finite gradients after which the scale doubles.

    Attributes:
        scale: float32 scalar variable, a power of two from 1 to 2^60.
        good_steps: int64 scalar variable, steps with finite gradients since the scale last changed.
    """

    def __init__(self, *, start: float = START, growth_steps: int = GROWTH_STEPS) -> None:
        self._growth_steps = growth_steps
        self.scale = tf.Variable(start, trainable=False, dtype=tf.float32, name="loss_scale/scale")
        self.good_steps = tf.Variable(0, trainable=False, dtype=tf.int64, name="loss_scale/good_steps")
        self._skipped_at_least = tf.Variable(0, trainable=False, dtype=tf.int64, name="loss_scale/skipped_at_least")

    def update(self, finite: tf.Tensor) -> tf.Tensor:
        """Update the scale after a step.

        Args:
            finite: bool scalar, whether the step's gradients were finite; the same on all ranks.

        Returns:
            Bool scalar: False if none of the last ``STEPS_AT_LEAST`` steps was finite at the smallest scale.
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
        """Variables of :meth:`state`."""
        return [self.scale, self.good_steps]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the entries that a checkpoint stores."""
        return {"loss_scale/scale": self.scale.numpy(), "loss_scale/good_steps": self.good_steps.numpy()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the result of :meth:`state`.

        Raises:
            KeyError: an entry is missing.
        """
        self.scale.assign(state["loss_scale/scale"])
        self.good_steps.assign(state["loss_scale/good_steps"])
