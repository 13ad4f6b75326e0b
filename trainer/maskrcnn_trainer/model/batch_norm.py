"""Batch normalization, synchronized over several processes on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# Takes and gives float32 [2, C]: mean and mean of squares of this process' batch -> their averages over all
# processes. It must be differentiable, its gradient being the average of the gradients (as Horovod's allreduce is).
SyncMoments = Callable[[tf.Tensor], tf.Tensor]

MOMENTUM = 0.99


def moving_average_momentum(updates: tf.Tensor) -> tf.Tensor:
    """min(0.99, (1 + t) / (10 + t)) after t updates, float32: short runs forget the initial values, too.

    The rule of TensorFlow's ``tf.train.ExponentialMovingAverage`` with ``num_updates``.
    """
    t = tf.cast(updates, tf.float32)
    return tf.minimum(tf.constant(MOMENTUM, tf.float32), (1.0 + t) / (10.0 + t))


class BatchNorm(keras.layers.Layer):
    """Batch normalisation over the last axis (Ioffe and Szegedy 2015, arXiv:1502.03167), float32 inside.

    With stored statistics (``frozen``, or not training) it is y = scale * x + shift with scale = gamma /
    sqrt(moving_variance + epsilon), shift = beta - moving_mean * scale; gamma and beta still train where the layer is
    trainable. Otherwise it normalises by the moments of the batch and updates the moving statistics.

    Args:
        epsilon: added to the variance.
        frozen: always use the stored statistics.
        updates: counts the moving average's updates; whoever owns it counts.
        sync_moments: averages moments over processes (synchronized batch normalization); None for one process.
        scale_in_kernel: the convolution before this layer multiplies its kernel by `scale` (see `Convolution`).
    """

    def __init__(
        self,
        *,
        epsilon: float,
        frozen: bool,
        updates: tf.Variable,
        sync_moments: SyncMoments | None = None,
        scale_in_kernel: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.frozen = frozen
        self.scale_in_kernel = scale_in_kernel
        self._momentum: Callable[[], tf.Tensor] = lambda: moving_average_momentum(updates)
        self._sync_moments = sync_moments

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        def weight(name: str, initial: str, trainable: bool) -> Any:
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initial,
                trainable=trainable,
                dtype="float32",
                autocast=False,
            )

        self.gamma = weight("gamma", "ones", True)
        self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)
        self.built = True

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def uses_batch_moments(self, training: bool | None) -> bool:
        """Whether this call normalises by the batch instead of by the stored statistics."""
        return bool(training) and not self.frozen

    def scale(self, training: bool) -> tf.Tensor | None:
        """Factor of the stored statistics, float32 [C], or None when the batch's moments are used."""
        if self.uses_batch_moments(training):
            return None
        deviation = tf.math.rsqrt(tf.convert_to_tensor(self.moving_variance) + self.epsilon)
        return tf.convert_to_tensor(self.gamma) * deviation

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if self.uses_batch_moments(training):
            return (
                self._by_batch(inputs)
                if self._sync_moments is None
                else self._by_synchronized_batch(inputs, self._sync_moments)
            )
        scale = self.scale(bool(training))
        shift = tf.convert_to_tensor(self.beta) - tf.convert_to_tensor(self.moving_mean) * scale
        if self.scale_in_kernel:
            return tf.nn.bias_add(inputs, tf.cast(shift, inputs.dtype))
        return tf.cast(tf.cast(inputs, tf.float32) * scale + shift, inputs.dtype)

    def _by_batch(self, inputs: tf.Tensor) -> tf.Tensor:
        """One kernel for moments and result, on a CPU three times as fast as the steps of `_by_synchronized_batch`."""
        nothing = tf.zeros([0], tf.float32)
        found = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=nothing,
            variance=nothing,
            epsilon=self.epsilon,
            is_training=True,
        )
        # The kernel normalises by the mean of squared deviations, but gives their sum divided by one less.
        values = tf.cast(tf.size(inputs, out_type=tf.int64) // inputs.shape[-1], tf.float32)
        self._move(self.moving_mean, found.batch_mean)
        self._move(self.moving_variance, found.batch_variance * ((values - 1.0) / values))
        return found.y

    def _by_synchronized_batch(self, inputs: tf.Tensor, sync_moments: SyncMoments) -> tf.Tensor:
        x = tf.cast(inputs, tf.float32)
        axes = list(range(x.shape.rank - 1))
        moments = sync_moments(tf.stack([tf.reduce_mean(x, axes), tf.reduce_mean(tf.square(x), axes)]))
        mean, square = tf.unstack(moments, num=2)
        variance = tf.maximum(square - tf.square(mean), 0.0)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        scale = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(variance + self.epsilon)
        shift = tf.convert_to_tensor(self.beta) - mean * scale
        return tf.cast(x * scale + shift, inputs.dtype)

    def _move(self, stored: Any, value: tf.Tensor) -> None:
        momentum = self._momentum()
        stored.assign(momentum * tf.convert_to_tensor(stored) + (1.0 - momentum) * tf.stop_gradient(value))
