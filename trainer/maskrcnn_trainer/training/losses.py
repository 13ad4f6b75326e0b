"""The five losses of Mask R-CNN in float32: RPN score, RPN box, class, box, and mask.

Faster R-CNN (Ren et al., arXiv:1506.01497, section 3.1.2) and Mask R-CNN (He et al., arXiv:1703.06870, section 3).
Divisors are constants or counts of this rank's batch. Each loss is a float32 scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

RPN_HUBER_DELTA = 1.0 / 9.0
"""Error at which the RPN box loss changes from quadratic to linear, in units of the deltas (Detectron's beta)."""

BOX_HUBER_DELTA = 1.0


def huber(error: tf.Tensor, delta: float) -> tf.Tensor:
    """Return the element-wise Huber loss: e^2 / 2 up to ``delta``, then delta |e| - delta^2 / 2."""
    magnitude = tf.abs(error)
    quadratic = tf.minimum(magnitude, delta)
    return quadratic * (magnitude - 0.5 * quadratic)


def rpn_score_loss(logits: tf.Tensor, labels: tf.Tensor, *, batch_size: int, anchors_per_image: int) -> tf.Tensor:
    """Return the sigmoid cross-entropy of the sampled anchors.

    The divisor is ``batch_size * anchors_per_image``, also if fewer anchors were sampled.

    Args:
        logits: float32 [B, A], or [N, a] for the anchors of some cells.
        labels: int32 of the same shape, 1 object, 0 background, -1 not sampled.
        batch_size: images of each rank and step.
        anchors_per_image: requested size of the sample (``rpn_batch_size_per_im``).
    """
    counted = tf.cast(labels >= 0, tf.float32)
    target = tf.cast(labels > 0, tf.float32)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(entropy * counted) / float(batch_size * anchors_per_image)


def rpn_box_loss(deltas: tf.Tensor, targets: tf.Tensor, level_sizes: Sequence[int]) -> tf.Tensor:
    """Return the Huber loss of the deltas of matched anchors: the mean on each level, summed over levels.

    Args:
        deltas: float32 [B, A, 4].
        targets: float32 [B, A, 4], 0 for anchors without a match. Elements that are exactly 0 are not counted.
        level_sizes: number of anchors on each level, in the order of A.
    """
    sizes = list(level_sizes)
    return tf.add_n(
        [
            rpn_box_loss_of_level(prediction, target)
            for prediction, target in zip(
                tf.split(deltas, sizes, axis=1), tf.split(targets, sizes, axis=1), strict=True
            )
        ]
    )


def rpn_box_loss_of_level(deltas: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return one level's part of `rpn_box_loss`: the mean over the elements with a nonzero target, or 0 without any.

    Args:
        deltas: float32, any shape.
        targets: float32 of the same shape.
    """
    counted = tf.cast(tf.not_equal(targets, 0.0), tf.float32)
    loss = tf.reduce_sum(huber(tf.cast(deltas, tf.float32) - targets, RPN_HUBER_DELTA) * counted)
    return loss / tf.maximum(tf.reduce_sum(counted), 1.0)


def class_loss(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Return the softmax cross-entropy, the mean over RoIs with a class.

    Args:
        logits: float32 [R, K].
        classes: int32 [R], 0 for background, -1 for RoIs that are not counted.
    """
    counted = tf.cast(classes >= 0, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.maximum(classes, 0), logits=tf.cast(logits, tf.float32)
    )
    return tf.reduce_sum(entropy * counted) / tf.maximum(tf.reduce_sum(counted), 1.0)


def box_loss(box_deltas: tf.Tensor, classes: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Return the Huber loss of the deltas of the target's class, the mean over the elements of foreground RoIs.

    Args:
        box_deltas: float32 [R, K, 4].
        classes: int32 [R], > 0 for foreground; other RoIs are not counted.
        targets: float32 [R, 4], multiplied by the box weights.
    """
    counted = tf.cast(classes > 0, tf.float32)
    chosen = tf.gather(tf.cast(box_deltas, tf.float32), tf.maximum(classes, 0), axis=1, batch_dims=1)
    loss = tf.reduce_sum(huber(chosen - targets, BOX_HUBER_DELTA) * counted[:, None])
    return loss / (4.0 * tf.maximum(tf.reduce_sum(counted), 1.0))


def mask_loss_sum(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the weighted sum over RoIs of the sigmoid cross-entropy, averaged over the pixels of each.

    Args:
        logits: float32 [R, n, n] of the target's class.
        targets: float32 [R, n, n] of 0 and 1.
        weights: float32 [R].
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.reduce_mean(entropy, axis=[1, 2]) * weights)
