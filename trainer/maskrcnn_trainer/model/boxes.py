"""Box arithmetic in float32: intersection over union, the box coding of Faster R-CNN, clipping.

A box is y1 x1 y2 x2 in pixels of the padded image with y1 <= y2 and x1 <= x2; its height is y2 - y1, without the
"+ 1" of early implementations of Faster R-CNN. Box coding: Girshick et al., arXiv:1311.2524, appendix C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

MAX_LOG_SCALE = math.log(1000.0 / 16.0)
"""Limit of dh and dw in decoding: an anchor of 16 pixels cannot grow beyond 1,000."""

SIDE_EPSILON = 1e-6
"""Lower limit of sides before a division or a logarithm, so that padding gives finite numbers."""

UNIT_WEIGHTS = (1.0, 1.0, 1.0, 1.0)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Return the areas, float32 [..] in square pixels, of boxes [.., 4]; a box with y2 < y1 or x2 < x1 has area 0."""
    boxes = tf.cast(boxes, tf.float32)
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Return the intersection over union of all pairs.

    It needs memory for N * M pairs, so split the boxes if there are many.

    Args:
        a: boxes [.., N, 4], y1 x1 y2 x2.
        b: boxes [.., M, 4] with the same (or broadcastable) leading dimensions.

    Returns:
        float32 [.., N, M] in 0..1; 0, never NaN, if a box has no area.
    """
    a = tf.cast(a, tf.float32)
    b = tf.cast(b, tf.float32)
    a_y1, a_x1, a_y2, a_x2 = tf.split(a, 4, axis=-1)
    b_y1, b_x1, b_y2, b_x2 = (tf.expand_dims(part, -2) for part in tf.unstack(b, num=4, axis=-1))
    height = tf.maximum(tf.minimum(a_y2, b_y2) - tf.maximum(a_y1, b_y1), 0.0)
    width = tf.maximum(tf.minimum(a_x2, b_x2) - tf.maximum(a_x1, b_x1), 0.0)
    intersection = height * width
    union = area(a)[..., :, None] + area(b)[..., None, :] - intersection
    return tf.math.divide_no_nan(intersection, union)


def encode_boxes(boxes: tf.Tensor, anchors: tf.Tensor, weights: Sequence[float] = UNIT_WEIGHTS) -> tf.Tensor:
    """Return the deltas from ``anchors`` to ``boxes``.

    Args:
        boxes: [.., 4], y1 x1 y2 x2 in pixels.
        anchors: [.., 4] of the same (or broadcastable) shape.
        weights: factors of dy, dx, dh, dw.

    Returns:
        float32 [.., 4]: dy and dx in anchor heights and widths, dh and dw as logarithms of the ratio of sides, each
        times its weight. Finite for finite input, including padding.
    """
    box_center, box_size = _center_and_size(tf.cast(boxes, tf.float32))
    center, size = _center_and_size(tf.cast(anchors, tf.float32))
    size = tf.maximum(size, SIDE_EPSILON)
    shift = (box_center - center) / size
    scale = tf.math.log(tf.maximum(box_size, SIDE_EPSILON) / size)
    return tf.concat([shift, scale], axis=-1) * tf.constant(weights, tf.float32)


def decode_boxes(
    deltas: tf.Tensor, anchors: tf.Tensor, weights: Sequence[float] = UNIT_WEIGHTS, *, clip_small: bool = False
) -> tf.Tensor:
    """Return boxes, float32 [.., 4], from deltas of ``encode_boxes``; dh and dw are at most log(1000 / 16).

    Args:
        deltas: [.., 4], dy dx dh dw times their weights.
        anchors: [.., 4] of the same (or broadcastable) shape, y1 x1 y2 x2 in pixels.
        weights: factors of dy, dx, dh, dw, all positive.
        clip_small: dh and dw are also at least -log(1000 / 16), as in MMDetection 3.3
            (``models/task_modules/coders/delta_xywh_bbox_coder.py``).
    """
    deltas = tf.cast(deltas, tf.float32) / tf.constant(weights, tf.float32)
    center, size = _center_and_size(tf.cast(anchors, tf.float32))
    center = deltas[..., :2] * size + center
    log_scale = tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)
    if clip_small:
        log_scale = tf.maximum(log_scale, -MAX_LOG_SCALE)
    half = 0.5 * size * tf.exp(log_scale)
    return tf.concat([center - half, center + half], axis=-1)


def clip_to_image(boxes: tf.Tensor, height: float | tf.Tensor, width: float | tf.Tensor) -> tf.Tensor:
    """Return boxes, float32 [.., 4], clipped to [0, height] x [0, width] pixels; a box outside has area 0."""
    limit = tf.cast(tf.stack([height, width, height, width]), tf.float32)
    return tf.clip_by_value(tf.cast(boxes, tf.float32), 0.0, limit)


def _center_and_size(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size
