"""Boxes on the levels of a feature pyramid (Lin et al., arXiv:1612.03144, eq. 1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.model.boxes import area
from maskrcnn_trainer.task.device import index_dtype

CANONICAL_SIZE = 224.0
CANONICAL_LEVEL = 4


def level_bounds(min_level: int, max_level: int) -> list[float]:
    """Return the areas in square pixels from which boxes are on the levels above ``min_level``, ascending."""
    return [(CANONICAL_SIZE * 2.0 ** (level - CANONICAL_LEVEL)) ** 2 for level in range(min_level + 1, max_level + 1)]


def pyramid_level(boxes: tf.Tensor, min_level: int, max_level: int) -> tf.Tensor:
    """Return the level of boxes [.., 4]: floor(log2(sqrt(area) / 224)) + 4, clamped to the levels.

    Areas are compared with powers of two times 224**2 instead of taking logarithms. This is exact: a box of 448 x 448
    pixels is on level 5 on every device, and one without area is on min_level.

    Returns:
        ``index_dtype()`` [..].
    """
    bounds = level_bounds(min_level, max_level)
    reached = area(boxes)[..., None] >= tf.constant(bounds, tf.float32, shape=[len(bounds)])
    return min_level + tf.reduce_sum(tf.cast(reached, index_dtype()), axis=-1)


class Side(NamedTuple):
    """Boxes [B, R] along one axis of their maps.

    Attributes:
        start: sides where the axis begins, float32 in cells.
        end: the opposite sides.
        size: sizes of the maps along the axis, ``index_dtype()``.
    """

    start: tf.Tensor
    end: tf.Tensor
    size: tf.Tensor


class BoxesInCells(NamedTuple):
    """Boxes [B, R] in cells of their levels.

    Attributes:
        rows: along y.
        columns: along x.
        first_cell: ``index_dtype()``, index of the first cell of the box's map in the table of all cells, in which the
            levels ascend and each has all its images in order.
    """

    rows: Side
    columns: Side
    first_cell: tf.Tensor


def place_boxes(
    boxes: tf.Tensor, image_index: tf.Tensor, images: int, sizes: list[tuple[int, int]], min_level: int
) -> BoxesInCells:
    """Return boxes in cells of the level that fits their size; one that isn't finite becomes a box of zeros.

    Args:
        boxes: [B, R, 4], y1 x1 y2 x2 in pixels of the padded image.
        image_index: ``index_dtype()``, the image of each box, of a shape that broadcasts to [B, R].
        images: images of a map.
        sizes: (height, width) in cells of the map of each level from ``min_level``.
        min_level: lowest level.
    """
    dtype = index_dtype()
    boxes = tf.cast(boxes, tf.float32)
    finite = tf.reduce_all(tf.math.is_finite(boxes), axis=-1, keepdims=True)
    boxes = tf.where(finite, boxes, 0.0)

    max_level = min_level + len(sizes) - 1
    index = pyramid_level(boxes, min_level, max_level) - min_level
    first_cells = np.cumsum([0] + [images * height * width for height, width in sizes[:-1]])
    strides = 2.0 ** np.arange(min_level, max_level + 1)
    height = tf.gather(tf.constant([size[0] for size in sizes], dtype), index)
    width = tf.gather(tf.constant([size[1] for size in sizes], dtype), index)
    first_cell = tf.gather(tf.constant(first_cells, dtype), index) + image_index * height * width
    boxes = boxes * tf.gather(tf.constant(1.0 / strides, tf.float32), index)[..., None]
    y1, x1, y2, x2 = tf.unstack(boxes, num=4, axis=-1)
    return BoxesInCells(Side(y1, y2, height), Side(x1, x2, width), first_cell)
