"""Weight decay of kernels: L2 = decay * sum(v^2) / 2 and L1 = decay * sum(|v|) / 2.

Biases and the gamma and beta of batch normalization have no decay. The gradients are computed in closed form: they are
the same on every rank, so they are added after the reduction and without loss scaling.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def is_decayed(name: str) -> bool:
    """Return whether the variable ``name`` (``conv1/kernel``, ``fc6/bias``, ...) is a kernel."""
    return name.split(":", maxsplit=1)[0].rsplit("/", maxsplit=1)[-1] == "kernel"


class WeightDecay:
    """L1 and L2 decay of the trainable kernels of a network.

    Args:
        names: names of the trainable variables.
        l1: factor of the L1 decay, at least 0; 0 adds no operation.
        l2: factor of the L2 decay, at least 0; 0 adds no operation.
    """

    def __init__(self, names: Sequence[str], *, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = float(l1)
        self.l2 = float(l2)
        self._decayed = tuple(is_decayed(name) for name in names)

    def losses(self, values: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the L1 and L2 terms, float32 scalars, of the variables' ``values``."""
        kernels = [v for v, decayed in zip(values, self._decayed, strict=True) if decayed]
        zero = tf.constant(0.0, tf.float32)
        l1 = 0.5 * self.l1 * tf.add_n([tf.reduce_sum(tf.abs(v)) for v in kernels]) if self.l1 and kernels else zero
        l2 = self.l2 * tf.add_n([tf.nn.l2_loss(v) for v in kernels]) if self.l2 and kernels else zero
        return l1, l2

    def add_gradients(self, gradients: Sequence[tf.Tensor], values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return ``gradients`` plus those of the two terms."""
        return [
            self._with_decay(gradient, value) if decayed else gradient
            for gradient, value, decayed in zip(gradients, values, self._decayed, strict=True)
        ]

    def _with_decay(self, gradient: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        if self.l2:
            gradient += self.l2 * value
        if self.l1:
            gradient += 0.5 * self.l1 * tf.sign(value)
        return gradient
