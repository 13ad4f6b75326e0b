"""The five losses of Mask R-CNN in float32: RPN score and box, class, box and mask.

Faster R-CNN (Ren et al., arXiv:1506.01497, section 3.1.2) and Mask R-CNN (He et al., arXiv:1703.06870, section 3).
Normalisers are constants or counts of this rank's batch; each returns a scalar.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

RPN_HUBER_DELTA = 1.0 / 9.0
"""Where the RPN box loss turns from quadratic to linear, in units of the offsets (Detectron's beta)."""

BOX_HUBER_DELTA = 1.0


def huber(error: tf.Tensor, delta: float) -> tf.Tensor:
    """Element-wise Huber loss: e^2 / 2 up to ``delta``, then delta |e| - delta^2 / 2."""
    magnitude = tf.abs(error)
    quadratic = tf.minimum(magnitude, delta)
    return quadratic * (magnitude - 0.5 * quadratic)


def rpn_score_loss(logits: tf.Tensor, labels: tf.Tensor, *, batch_size: int, anchors_per_image: int) -> tf.Tensor:
    """Sigmoid cross-entropy of the sampled anchors.

    Args:
        logits: float32 [B, A], or [N, a] of some cells' anchors.
        labels: int32 of the same shape, 1 object, 0 background, -1 not sampled.
        batch_size: images a rank and step.
        anchors_per_image: size of the sample asked for (``rpn_batch_size_per_im``). The divisor is the product of
            both, not the count of what was found.
    """
    counted = tf.cast(labels >= 0, tf.float32)
    target = tf.cast(labels > 0, tf.float32)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(entropy * counted) / float(batch_size * anchors_per_image)


def rpn_box_loss(deltas: tf.Tensor, targets: tf.Tensor, level_sizes: Sequence[int]) -> tf.Tensor:
    """Huber loss of the offsets of matched anchors: the mean on each level, summed over levels.

    Args:
        deltas: float32 [B, A, 4].
        targets: float32 [B, A, 4], 0 where an anchor has no match. Elements that are exactly 0 are not counted.
        level_sizes: anchors on each level, in the order of A.
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
    """One level's part of `rpn_box_loss`: the mean over the elements whose target is not 0; 0 where there is none.

    Args:
        deltas: float32, any shape.
        targets: float32 of the same shape.
    """
    counted = tf.cast(tf.not_equal(targets, 0.0), tf.float32)
    loss = tf.reduce_sum(huber(tf.cast(deltas, tf.float32) - targets, RPN_HUBER_DELTA) * counted)
    return loss / tf.maximum(tf.reduce_sum(counted), 1.0)


def class_loss(logits: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy, the mean over regions with a class.

    Args:
        logits: float32 [R, K].
        classes: int32 [R], 0 for background, -1 for regions that do not count.
    """
    counted = tf.cast(classes >= 0, tf.float32)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.maximum(classes, 0), logits=tf.cast(logits, tf.float32)
    )
    return tf.reduce_sum(entropy * counted) / tf.maximum(tf.reduce_sum(counted), 1.0)


def box_loss(box_deltas: tf.Tensor, classes: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Huber loss of the offsets predicted for the target's class, the mean over the elements of foreground regions.

    Args:
        box_deltas: float32 [R, K, 4].
        classes: int32 [R], > 0 for foreground; no other region counts.
        targets: float32 [R, 4], already times the box weights.
    """
    counted = tf.cast(classes > 0, tf.float32)
    chosen = tf.gather(tf.cast(box_deltas, tf.float32), tf.maximum(classes, 0), axis=1, batch_dims=1)
    loss = tf.reduce_sum(huber(chosen - targets, BOX_HUBER_DELTA) * counted[:, None])
    return loss / (4.0 * tf.maximum(tf.reduce_sum(counted), 1.0))


def mask_loss_sum(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Sigmoid cross-entropy averaged over each instance's pixels, then summed over instances by weight.

    Args:
        logits: float32 [R, n, n] of the target's class.
        targets: float32 [R, n, n] of 0 and 1.
        weights: float32 [R].
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.reduce_mean(entropy, axis=[1, 2]) * weights)
