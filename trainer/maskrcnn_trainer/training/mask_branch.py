"""The mask branch of a training step, computed for foreground rows alone.

Only foreground regions carry a mask loss, and early in training, or on pictures with few objects, most of the
``k`` rows an image are none. Their number is known at run time only, while compiled code wants static shapes: so the
foreground rows of the whole batch are moved to the front and padded to the smallest of a few sizes, and each size has
a branch of its own. A branch returns the loss and its gradients: nothing but those crosses its border, so no
intermediate result of the branches that did not run is kept or made up.
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


def row_sizes(rows: int, *, coarse: bool = False) -> tuple[int, ...]:
    """The static sizes that foreground rows are padded to.

    0, then 8, 12, 16, 24, 32, ... up to ``rows``; with ``coarse`` 0, 16, 64, 256, ...: XLA compiles every branch.
    """
    sizes = [0]
    power = 16 if coarse else 8
    while power < rows:
        sizes += [size for size in ((power,) if coarse else (power, power * 3 // 2)) if size < rows]
        power *= 4 if coarse else 2
    return (*sizes, rows)


def foreground_order(is_foreground: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Indices int32 [R] that bring the foreground rows of bool [R] to the front, their order kept, and their count."""
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
    rows_forward: Callable[[list[tf.Tensor], tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    weight: tf.Tensor,
    sizes: Sequence[int] | None = None,
) -> MaskGradients:
    """Loss and gradients of the mask branch over the foreground rows of a batch.

    Args:
        features: feature maps that the rows are cut from.
        variables: the mask head's trainable variables.
        is_foreground: bool [R] over the batch's candidate rows, R static.
        rows_forward: given the feature maps and int32 [n] row numbers (n static), the mask logits and the mask targets
            of these rows, float32 [n, r, r] each.
        weight: float32 scalar factor of the loss in the gradients: the loss's weight times the loss scale.
        sizes: rising row counts that may be computed, the last is R; default ``row_sizes(R)``.
    """
    rows = int(is_foreground.shape[0])
    chosen_sizes = tuple(sizes or row_sizes(rows))
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
                logits, targets = rows_forward(list(features), order[:size])
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
