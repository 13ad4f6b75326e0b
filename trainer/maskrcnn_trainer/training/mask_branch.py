"""Mask branch of a training step, computed only for foreground RoIs.

Only foreground RoIs have a mask loss, and early in training, or in images with few objects, most of the ``k`` RoIs of
an image are background. Their number is known only at run time, but compiled code needs static shapes. So the
foreground RoIs of the whole batch are moved to the front and padded to the smallest of a few sizes, each of which has
its own branch. A branch returns only the loss and its gradients, so no intermediate results of branches that did not
run have to be stored or filled with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.task.device import index_dtype, on_gpu
from maskrcnn_trainer.training.losses import mask_loss_sum


class MaskGradients(NamedTuple):
    """Result of the mask branch.

    Attributes:
        loss: float32 scalar, unscaled.
        features: gradients of the scaled loss with respect to the feature maps, in their order and dtype.
        variables: gradients of the scaled loss with respect to the mask head's variables, float32.
    """

    loss: tf.Tensor
    features: list[tf.Tensor]
    variables: list[tf.Tensor]


def padded_sizes(regions: int, *, coarse: bool = False) -> tuple[int, ...]:
    """Return the static sizes to which foreground RoIs are padded, ascending.

    They are 0, then 8, 12, 16, 24, 32, ... up to ``regions``.

    Args:
        regions: largest number of foreground RoIs.
        coarse: use fewer sizes (0, 16, 64, 256, ...), since XLA compiles a branch for each. A GPU always uses fewer,
            since cuDNN tries its algorithms for each new size.
    """
    coarse = coarse or on_gpu()
    sizes = [0]
    power = 16 if coarse else 8
    while power < regions:
        sizes += [size for size in ((power,) if coarse else (power, power * 3 // 2)) if size < regions]
        power *= 4 if coarse else 2
    return (*sizes, regions)


def foreground_order(is_foreground: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return indices that move the foreground RoIs of bool [R] to the front in their order, and the count.

    Returns:
        ``index_dtype()`` [R], and a float32 scalar.
    """
    flags = tf.cast(is_foreground, tf.float32)
    order = tf.math.top_k(flags, k=flags.shape[0]).indices  # of equal values the first comes first
    return tf.cast(order, index_dtype()), tf.reduce_sum(flags)


def opaque(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return the same tensors through a loop of one iteration, which stops XLA's constant evaluation.

    XLA tests whether the inputs of a case's branches are constant. To do so it evaluates all operations before them,
    including convolutions, in an interpreter: 165 s of CPU instead of 18 s for a small network on 64 x 64 pixels.
    """
    once = tf.while_loop(lambda done, *_: done < 1, lambda done, *same: (done + 1, *same), [0, *values])
    return list(once[1:])


def mask_gradients(
    *,
    features: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
    is_foreground: tf.Tensor,
    forward: Callable[[list[tf.Tensor], tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    weight: tf.Tensor,
    sizes: Sequence[int] | None = None,
) -> MaskGradients:
    """Return loss and gradients of the mask branch for the foreground RoIs of a batch.

    Args:
        features: feature maps from which RoIs are pooled.
        variables: the mask head's trainable variables.
        is_foreground: bool [R], of the batch's RoIs, R static.
        forward: function of the feature maps and indices of RoIs, ``index_dtype()`` [n] (n static), that returns mask
            logits and mask targets of these RoIs, float32 [n, r, r] each.
        weight: float32 scalar, factor of the loss in the gradients: the loss's weight times the loss scale.
        sizes: ascending numbers of RoIs that may be computed, the last is R; default ``padded_sizes(R)``.
    """
    regions = int(is_foreground.shape[0])
    chosen_sizes = tuple(sizes or padded_sizes(regions))
    order, count = foreground_order(is_foreground)
    divisor = tf.maximum(count, 1.0)

    def branch(size: int) -> Callable[[], list[tf.Tensor]]:
        def compute() -> list[tf.Tensor]:
            if size == 0:
                zero = tf.constant(0.0, tf.float32)
                return [zero, *(tf.zeros_like(f) for f in features), *(tf.zeros(v.shape, v.dtype) for v in variables)]
            weights = tf.cast(np.arange(size, dtype=np.float32) < count, tf.float32)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([*features, *variables])
                logits, targets = forward(list(features), order[:size])
                loss = mask_loss_sum(logits, targets, weights) / divisor
                scaled = loss * weight
            sources = [*features, *variables]
            gradients = tape.gradient(scaled, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return [loss, *(tf.convert_to_tensor(gradient) for gradient in gradients)]

        return compute

    if len(chosen_sizes) == 1:
        results = branch(chosen_sizes[0])()
    else:
        index = tf.reduce_sum(tf.cast(count > tf.constant(chosen_sizes[:-1], tf.float32), tf.float32))
        results = tf.switch_case(tf.cast(index, tf.int32), [branch(size) for size in chosen_sizes])
    maps = len(features)
    return MaskGradients(results[0], list(results[1 : 1 + maps]), list(results[1 + maps :]))
