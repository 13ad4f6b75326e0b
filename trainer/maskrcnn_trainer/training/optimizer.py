"""Stochastic gradient descent with momentum, in the form of TensorFlow 1 and Caffe2.

``v = m v + g; w = w - lr v``. Keras uses ``v = m v - lr g; w = w + v``: the two differ in the steps after the rate
drops, since Keras's velocity still includes the old rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from numpy.typing import NDArray

DOUBLED = ("bias", "beta")
"""Variables whose gradients are doubled, as in Detectron."""


def gradient_factor(name: str) -> float:
    """Return the factor of a variable's gradient: 2 for biases and betas, as in Detectron, else 1."""
    return 2.0 if name.split(":", maxsplit=1)[0].rsplit("/", maxsplit=1)[-1] in DOUBLED else 1.0


def squared_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the sum of squares over all gradients, a float32 scalar; it is not finite if any element is not."""
    return 2.0 * tf.add_n([tf.nn.l2_loss(tf.cast(gradient, tf.float32)) for gradient in gradients])


class MomentumOptimizer:
    """Optimizer of a fixed list of variables.

    Args:
        variables: float32 ``tf.Variable``s.
        names: a unique name for each, used for its velocity in checkpoints.
        momentum: m, 0..1.
        clip_norm: gradients are scaled down to this global norm; 0 for no clipping.

    Raises:
        ValueError: the names are not unique, or not as many as the variables.
    """

    def __init__(
        self, variables: Sequence[tf.Variable], names: Sequence[str], *, momentum: float, clip_norm: float = 0.0
    ) -> None:
        if len(set(names)) != len(variables):
            raise ValueError("each variable needs a unique name")
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
        """Double the gradients of biases and betas, clip by global norm if set, and update the variables in place.

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
        """Velocities, in the order of the variables."""
        return list(self._slots)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the velocities, float32, by ``momentum/<variable name>``."""
        return {f"momentum/{name}": slot.numpy() for name, slot in zip(self.names, self._slots, strict=True)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the result of :meth:`state`.

        Raises:
            KeyError: a variable has no entry.
            ValueError: an entry has another shape.
        """
        for name, slot in zip(self.names, self._slots, strict=True):
            slot.assign(state[f"momentum/{name}"])
