"""Mask targets: the part of a cropped ground-truth mask that an RoI covers, on the grid of the mask head."""

from __future__ import annotations

import tensorflow as tf

from maskrcnn_trainer.data.masks import CROP_BORDER
from maskrcnn_trainer.task.device import index_dtype, on_gpu


def mask_targets(
    boxes: tf.Tensor,
    gt_boxes: tf.Tensor,
    masks: tf.Tensor,
    image_index: tf.Tensor,
    gt_index: tf.Tensor,
    *,
    resolution: int,
) -> tf.Tensor:
    """Sample the mask of each RoI's instance at the centers of a grid of cells, bilinearly, with a threshold of 0.5.

    Args:
        boxes: float32 [R, 4], RoIs, y1 x1 y2 x2 in pixels of the padded image.
        gt_boxes: float32 [R, 4], the box of each RoI's instance.
        masks: uint8 [B, N, M + 4, M + 4]: the instance inside its box resampled to M x M cells (255 inside) with a
            zero border of two cells. A CPU gathers the bytes directly, without a float copy of all masks.
        image_index: int32 or int64 [R], the image of each RoI.
        gt_index: int32 or int64 [R], the instance of each RoI in its image.
        resolution: n, cells along a side of the grid.

    Returns:
        float32 [R, n, n] of 0 and 1, without gradient.
    """
    _, instances, side, _ = masks.shape
    cells = float(side - 2 * CROP_BORDER)
    origin, extent = gt_boxes[:, :2], gt_boxes[:, 2:] - gt_boxes[:, :2]
    start = (boxes[:, :2] - origin) * cells / (extent + 1e-8) + CROP_BORDER
    length = (boxes[:, 2:] - boxes[:, :2]) * cells / (extent + 1e-8)
    centers = (tf.range(resolution, dtype=tf.float32) + 0.5) / float(resolution)
    # The value of cell i applies to its center, i + 1/2.
    points = start[:, None, :] + centers[None, :, None] * length[:, None, :] - 0.5
    points = tf.clip_by_value(points, 0.0, side - 1.0)
    low = tf.minimum(tf.floor(points), side - 2.0)
    fraction = points - low
    low = tf.cast(low, index_dtype())
    row, column = low[:, :, None, 0], low[:, None, :, 1]
    down, right = fraction[:, :, None, 0], fraction[:, None, :, 1]

    image_index, gt_index = tf.cast(image_index, index_dtype()), tf.cast(gt_index, index_dtype())
    first = (image_index * instances + gt_index) * (side * side)
    corner = first[:, None, None] + row * side + column
    # A gather of bytes has no kernel for GPUs, and would copy all masks down. Their values are exact in float16.
    flat = tf.reshape(tf.cast(masks, tf.float16) if on_gpu() else masks, [-1])

    def take(offset: int) -> tf.Tensor:
        return tf.cast(tf.gather(flat, corner + offset), tf.float32)

    upper = take(0) * (1.0 - right) + take(1) * right
    lower = take(side) * (1.0 - right) + take(side + 1) * right
    value = upper * (1.0 - down) + lower * down
    return tf.stop_gradient(tf.cast(value >= 127.5, tf.float32))
