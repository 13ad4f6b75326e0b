"""The mask branch of a training step, computed for foreground regions alone.

Only foreground regions carry a mask loss, and early in training, or on pictures with few objects, most of the
``k`` regions an image are background. Their number is known at run time only, while compiled code needs static shapes:
so the foreground regions of the whole batch are moved to the front and padded to the smallest of a few sizes, and each
size has a branch of its own. A branch returns the loss and its gradients alone, so no intermediate result of the
branches that did not run is kept or made up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from maskrcnn_trainer.training.losses import mask_loss_sum


class MaskGradients(NamedTuple):
    """What the mask branch gives back.

    Attributes:
        loss: float32 scalar, unscaled.
        features: gradients of the scaled loss by feature maps, in the order and dtype of the maps.
        variables: the same by the mask head's variables, float32.
    """

    loss: tf.Tensor
    features: list[tf.Tensor]
    variables: list[tf.Tensor]


def padded_sizes(regions: int, *, coarse: bool = False) -> tuple[int, ...]:
    """Return the static sizes that foreground regions are padded to.

    0, then 8, 12, 16, 24, 32, ... up to ``regions``; with ``coarse`` 0, 16, 64, 256, ...: XLA compiles every branch.
    """
    sizes = [0]
    power = 16 if coarse else 8
    while power < regions:
        sizes += [size for size in ((power,) if coarse else (power, power * 3 // 2)) if size < regions]
        power *= 4 if coarse else 2
    return (*sizes, regions)


def foreground_order(is_foreground: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return indices int32 [R] that bring foreground regions of bool [R] to the front in their order, and the count."""
    flags = tf.cast(is_foreground, tf.int32)
    order = tf.argsort(1 - flags, stable=True)
    return order, tf.reduce_sum(flags)


def opaque(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Return the same tensors, behind a loop of one iteration that XLA does not look through when it compiles.

    XLA tests every input of a case's branches for being a constant. To do so it evaluates all operations before it,
    convolutions included, in an interpreter: 165 s of CPU instead of 18 s for a small network on 64 x 64 pixels.
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
    """Return loss and gradients of the mask branch over the foreground regions of a batch.

    Args:
        features: feature maps that the regions are cropped from.
        variables: the mask head's trainable variables.
        is_foreground: bool [R] over the batch's candidate regions, R static.
        forward: given the feature maps and int32 [n] indices of regions (n static), returns mask logits and mask
            targets of these regions, float32 [n, r, r] each.
        weight: float32 scalar factor of the loss in the gradients: the loss's weight times the loss scale.
        sizes: rising numbers of regions that may be computed, the last is R; default ``padded_sizes(R)``.
    """
    regions = int(is_foreground.shape[0])
    chosen_sizes = tuple(sizes or padded_sizes(regions))
    order, count = foreground_order(is_foreground)
    divisor = tf.maximum(tf.cast(count, tf.float32), 1.0)

    def branch(size: int) -> Callable[[], list[tf.Tensor]]:
        def compute() -> list[tf.Tensor]:
            if size == 0:
                zero = tf.constant(0.0, tf.float32)
                return [zero, *(tf.zeros_like(f) for f in features), *(tf.zeros(v.shape, v.dtype) for v in variables)]
            weights = tf.cast(tf.range(size) < count, tf.float32)
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
        index = tf.reduce_sum(tf.cast(count > tf.constant(chosen_sizes[:-1]), tf.int32))
        results = tf.switch_case(index, [branch(size) for size in chosen_sizes])
    maps = len(features)
    return MaskGradients(results[0], list(results[1 : 1 + maps]), list(results[1 + maps :]))
