"""Losses as defined in the paper, for comparison with the sums of the training step."""

from __future__ import annotations

import tensorflow as tf

from maskrcnn_trainer.training.losses import mask_loss_sum


def mask_loss(logits: tf.Tensor, targets: tf.Tensor, foreground: tf.Tensor) -> tf.Tensor:
    """Return the sigmoid cross-entropy, the mean over the pixels of foreground RoIs; 0 if there are none.

    Args:
        logits: float32 [R, n, n] of the target's class.
        targets: float32 [R, n, n] of 0 and 1.
        foreground: bool [R].
    """
    weights = tf.cast(foreground, tf.float32)
    return mask_loss_sum(logits, targets, weights) / tf.maximum(tf.reduce_sum(weights), 1.0)
