"""Stochastic gradient descent with momentum, in the form of TensorFlow 1 and Caffe2.

``v = m v + g; w = w - lr v``. Keras keeps ``v = m v - lr g; w = w + v``: the two differ in the steps after the rate
drops, since there the velocity that is carried over still holds the old rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

DOUBLED = ("bias", "beta")


def gradient_factor(name: str) -> float:
    """2 for biases and betas, as in Detectron, else 1."""
    return 2.0 if name.split(":", maxsplit=1)[0].rsplit("/", maxsplit=1)[-1] in DOUBLED else 1.0


def squared_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Sum of squares over all gradients, a float32 scalar; not finite where any element is not."""
    return 2.0 * tf.add_n([tf.nn.l2_loss(tf.cast(gradient, tf.float32)) for gradient in gradients])


class MomentumOptimizer:
    """The update of a fixed list of variables.

    Args:
        variables: float32 ``tf.Variable``s.
        names: one for each, unique; slots are kept under them.
        momentum: m, 0..1.
        clip_norm: gradients are scaled down to this global norm; 0 = never.
    """

    def __init__(
        self, variables: Sequence[tf.Variable], names: Sequence[str], *, momentum: float, clip_norm: float = 0.0
    ) -> None:
        if len(set(names)) != len(variables):
            raise ValueError("variables need unique names, one each")
        self.names = tuple(names)
        self.momentum = float(momentum)
        self.clip_norm = float(clip_norm)
        self._variables = list(variables)
        self._factors = [gradient_factor(name) for name in names]
        self._slots = [
            tf.Variable(tf.zeros(v.shape, tf.float32), trainable=False, name=f"momentum/{name}")
            for v, name in zip(variables, names, strict=True)
        ]

    def apply(self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor) -> None:
        """Doubles the gradients of biases and betas, clips by global norm when asked to, and updates in place.

        Args:
            gradients: float32, in the order of the variables, reduced over ranks and unscaled.
            learning_rate: float32 scalar.
        """
        scaled = [g * f if f != 1.0 else g for g, f in zip(gradients, self._factors, strict=True)]
        if self.clip_norm > 0.0:
            norm = tf.sqrt(squared_norm(scaled))
            shrink = self.clip_norm / tf.maximum(norm, self.clip_norm)
            scaled = [g * shrink for g in scaled]
        for variable, slot, gradient in zip(self._variables, self._slots, scaled, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=slot.handle,
                lr=learning_rate,
                grad=gradient,
                momentum=tf.constant(self.momentum, tf.float32),
                use_locking=False,
                use_nesterov=False,
            )

    @property
    def slots(self) -> list[tf.Variable]:
        """The velocities, in the order of the variables."""
        return list(self._slots)

    def state(self) -> dict[str, NDArray[Any]]:
        """The velocities, float32, by ``momentum/<variable name>``."""
        return {f"momentum/{name}": slot.numpy() for name, slot in zip(self.names, self._slots, strict=True)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state`` returned.

        Raises:
            KeyError: a variable has no entry.
            ValueError: an entry has another shape.
        """
        for name, slot in zip(self.names, self._slots, strict=True):
            slot.assign(state[f"momentum/{name}"])
