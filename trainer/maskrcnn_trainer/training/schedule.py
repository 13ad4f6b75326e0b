"""Learning rate of each step: a linear warm-up, then a constant that drops at given steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from maskrcnn_trainer.errors import InvalidInput


class ScheduleFields(Protocol):
    """Part of an experiment spec that the learning rate depends on."""

    @property
    def init_learning_rate(self) -> float:
        """Rate after the warm-up."""

    @property
    def warmup_learning_rate(self) -> float:
        """Rate of step 0 if there is a warm-up."""

    @property
    def warmup_steps(self) -> int:
        """Number of steps of the warm-up."""

    @property
    def learning_rate_steps(self) -> tuple[int, ...]:
        """Steps after which the rate drops."""

    @property
    def learning_rate_decay_levels(self) -> tuple[float, ...]:
        """Factors of the initial rate after these steps."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate as a function of the step.

    Attributes:
        init_learning_rate: the rate after the warm-up, > 0.
        warmup_learning_rate: the rate of step 0 if there is a warm-up, >= 0.
        warmup_steps: number of steps of the warm-up; 0 for none.
        boundaries: ascending steps; the rate drops in the step after each, as in
            ``tf.keras.optimizers.schedules.PiecewiseConstantDecay``.
        decay_levels: one factor for each boundary, relative to the initial rate (not to the rate before it).

    Raises:
        InvalidInput: the two lists differ in length, or the boundaries are not in increasing order.
    """

    init_learning_rate: float
    warmup_learning_rate: float = 0.0
    warmup_steps: int = 0
    boundaries: tuple[int, ...] = ()
    decay_levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.boundaries) != len(self.decay_levels):
            raise InvalidInput(
                f"learningRateDecayLevels has {len(self.decay_levels)}, but learningRateSteps has "
                f"{len(self.boundaries)} entries; the two lists need the same length"
            )
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise InvalidInput(
                f"learningRateSteps {list(self.boundaries)} must be in increasing order, for example "
                f"{sorted(set(self.boundaries))}"
            )

    @classmethod
    def from_spec(cls, spec: ScheduleFields, *, factor: float = 1.0) -> Schedule:
        """Return the schedule of a spec.

        Args:
            spec: the experiment.
            factor: multiplies all rates; the number of ranks with ``scaleLearningRate``.

        Raises:
            InvalidInput: as for the constructor.
        """
        return cls(
            init_learning_rate=spec.init_learning_rate * factor,
            warmup_learning_rate=spec.warmup_learning_rate * factor,
            warmup_steps=spec.warmup_steps,
            boundaries=tuple(spec.learning_rate_steps),
            decay_levels=tuple(spec.learning_rate_decay_levels),
        )

    @property
    def values(self) -> tuple[float, ...]:
        """Rates between the boundaries, one more than there are boundaries."""
        return (self.init_learning_rate, *(level * self.init_learning_rate for level in self.decay_levels))

    def at(self, step: tf.Tensor) -> tf.Tensor:
        """Return the rate used in a step, computed in float64.

        Args:
            step: int64 scalar, counted from 0.

        Returns:
            float32 scalar.
        """
        position = tf.cast(step, tf.float64)
        values = tf.constant(self.values, tf.float64)
        passed = tf.reduce_sum(tf.cast(step > tf.constant(self.boundaries, tf.int64), tf.int64))
        rate = tf.gather(values, passed)
        if self.warmup_steps > 0:
            rise = self.init_learning_rate - self.warmup_learning_rate
            warm = self.warmup_learning_rate + position / self.warmup_steps * rise
            rate = tf.where(step < self.warmup_steps, warm, rate)
        return tf.cast(rate, tf.float32)
