"""Batch normalization, optionally synchronized over several processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SyncMoments = Callable[[tf.Tensor], tf.Tensor]
"""Function from float32 [2, C], mean and mean of squares of this process's batch, to their averages over all processes.

It must be differentiable, and its gradient must be the average of the gradients, as for Horovod's allreduce.
"""

MOMENTUM = 0.99
"""Largest momentum of the moving averages."""

SMALLEST_VARIANCE = float(np.finfo(np.float32).tiny)
"""Sum of variance and epsilon below which a channel counts as constant, the smallest normal float32 number."""


def inverse_deviation(variance: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Return 1 / sqrt(variance + epsilon), float32 [C].

    It is 0 for a channel whose variance is 0 if epsilon is, too: its values are all equal to the mean, so only the
    offset of the batch norm remains. Torchvision's COCO_V1 detectors have an epsilon of 0 (``models/detection/
    mask_rcnn.py`` of 0.14).
    """
    if epsilon >= SMALLEST_VARIANCE:
        return tf.math.rsqrt(variance + epsilon)
    varies = variance >= SMALLEST_VARIANCE
    return tf.where(varies, tf.math.rsqrt(tf.where(varies, variance, 1.0)), 0.0)


def moving_average_momentum(updates: tf.Tensor) -> tf.Tensor:
    """Return min(0.99, (1 + t) / (10 + t)) after t updates, a float32 scalar.

    This is the rule of TensorFlow's ``tf.train.ExponentialMovingAverage`` with ``num_updates``. It reduces the weight
    of the initial values also in short runs.
    """
    t = tf.cast(updates, tf.float32)
    return tf.minimum(tf.constant(MOMENTUM, tf.float32), (1.0 + t) / (10.0 + t))


class BatchNorm(keras.layers.Layer):
    """Batch normalization over the last axis (Ioffe and Szegedy 2015, arXiv:1502.03167), computed in float32.

    With stored statistics (``frozen``, or not training) the output is y = scale * x + shift with scale = gamma /
    sqrt(moving_variance + epsilon) and shift = beta - moving_mean * scale; gamma and beta still train if the layer is
    trainable. Otherwise the moments of the batch are used, and the moving statistics are updated.

    Args:
        epsilon: added to the variance; with 0, see `inverse_deviation`.
        frozen: always use the stored statistics.
        updates: number of updates of the moving averages so far; the network increments it, not this layer.
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
        # The inputs have the compute dtype already, and a cast of the moments would lose their precision.
        super().__init__(autocast=False, **kwargs)
        self.epsilon = epsilon
        self.frozen = frozen
        self.scale_in_kernel = scale_in_kernel
        self._momentum: Callable[[], tf.Tensor] = lambda: moving_average_momentum(updates)
        self._sync_moments = sync_moments

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the variables, float32 [C] each."""

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

    @property
    def statistics(self) -> tuple[Any, Any]:
        """Moving mean and moving variance, float32 [C] each."""
        return self.moving_mean, self.moving_variance

    @property
    def sync_moments(self) -> SyncMoments | None:
        """Function that averages the moments of a batch over processes; None if nothing is averaged."""
        return None if self.frozen else self._sync_moments

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape

    def uses_batch_moments(self, training: bool | None) -> bool:
        """Return whether a call uses the moments of the batch instead of the stored statistics."""
        return bool(training) and not self.frozen

    def scale(self, training: bool) -> tf.Tensor | None:
        """Return the factor from the stored statistics, float32 [C], None if the moments of the batch are used."""
        if self.uses_batch_moments(training):
            return None
        variance = tf.convert_to_tensor(self.moving_variance)
        return tf.convert_to_tensor(self.gamma) * inverse_deviation(variance, self.epsilon)

    def call(self, inputs: tf.Tensor, moments: tf.Tensor | None = None, training: bool | None = None) -> tf.Tensor:
        """Normalize ``inputs``, [.., C], in their dtype.

        Args:
            inputs: the values.
            moments: float32 [2, C], the averaged moments of the batch from `JoinedMoments`; None to compute them.
            training: use the moments of the batch, unless the layer is frozen.
        """
        if self.uses_batch_moments(training):
            if self._sync_moments is None:
                if self.epsilon >= SMALLEST_VARIANCE:
                    return self._by_batch(inputs)
                moments = _moments(inputs)
            elif moments is None:
                moments = self._sync_moments(_moments(inputs))
            return self._by_moments(inputs, moments)
        scale = self.scale(bool(training))
        shift = tf.convert_to_tensor(self.beta) - tf.convert_to_tensor(self.moving_mean) * scale
        if self.scale_in_kernel:
            return tf.nn.bias_add(inputs, tf.cast(shift, inputs.dtype))
        return tf.cast(tf.cast(inputs, tf.float32) * scale + shift, inputs.dtype)

    def _by_batch(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalize with one kernel, which on a CPU is three times as fast as `_by_moments`.

        It divides by 0 for a constant channel if epsilon is 0.
        """
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
        # The kernel normalizes by the biased variance (divided by n), but returns the unbiased one (by n - 1).
        values = tf.cast(tf.size(inputs, out_type=tf.int64) // inputs.shape[-1], tf.float32)
        self._move(self.moving_mean, found.batch_mean)
        self._move(self.moving_variance, found.batch_variance * ((values - 1.0) / values))
        return found.y

    def _by_moments(self, inputs: tf.Tensor, moments: tf.Tensor) -> tf.Tensor:
        x = tf.cast(inputs, tf.float32)
        mean, square = tf.unstack(moments, num=2)
        variance = tf.maximum(square - tf.square(mean), 0.0)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        scale = tf.convert_to_tensor(self.gamma) * inverse_deviation(variance, self.epsilon)
        shift = tf.convert_to_tensor(self.beta) - mean * scale
        return tf.cast(x * scale + shift, inputs.dtype)

    def _move(self, stored: Any, value: tf.Tensor) -> None:
        momentum = self._momentum()
        stored.assign(momentum * tf.convert_to_tensor(stored) + (1.0 - momentum) * tf.stop_gradient(value))


def _moments(inputs: tf.Tensor) -> tf.Tensor:
    """Return float32 [2, C], mean and mean of squares of [.., C]."""
    x = tf.cast(inputs, tf.float32)
    axes = list(range(x.shape.rank - 1))
    return tf.stack([tf.reduce_mean(x, axes), tf.reduce_mean(tf.square(x), axes)])


class JoinedMoments(keras.layers.Layer):
    """Moments of the inputs of several batch norms, averaged over processes in one reduction.

    The processes agree on each reduction before it starts, which takes longer than to send so few numbers.

    Args:
        sync_moments: averages moments over processes.
    """

    def __init__(self, sync_moments: SyncMoments, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self._sync_moments = sync_moments

    def compute_output_shape(self, input_shape: Sequence[tuple[int | None, ...]]) -> list[tuple[int | None, ...]]:
        """Return [2, C] for each input."""
        return [(2, one[-1]) for one in input_shape]

    def call(self, inputs: Sequence[tf.Tensor], training: bool | None = None) -> list[tf.Tensor]:
        """Return float32 [2, C] for each input [.., C]; zeros outside of training, where no batch norm reads them."""
        widths = [int(one.shape[-1]) for one in inputs]
        if not training:
            return [tf.zeros([2, width], tf.float32) for width in widths]
        averaged = self._sync_moments(tf.concat([_moments(one) for one in inputs], axis=1))
        return list(tf.split(averaged, widths, axis=1))


def normalize_together(
    norms: Sequence[BatchNorm], inputs: Sequence[keras.KerasTensor], *, name: str
) -> list[keras.KerasTensor]:
    """Apply each batch norm to its input; those that are synchronized exchange their moments in one reduction.

    Args:
        norms: layers that are all frozen, or all not.
        inputs: one for each; none depends on the output of another.
        name: of the layer for the moments, if there is one.
    """
    sync_moments = norms[0].sync_moments
    if sync_moments is None:
        return [norm(one) for norm, one in zip(norms, inputs, strict=True)]
    moments = JoinedMoments(sync_moments, name=name)(list(inputs))
    return [norm(one, moments=found) for norm, one, found in zip(norms, inputs, moments, strict=True)]
