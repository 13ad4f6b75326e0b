"""RoIAlign over a feature pyramid (He et al., arXiv:1703.06870; level of a box: Lin et al., arXiv:1612.03144, eq. 1).

Values are those of ONNX RoiAlign-16 with coordinate_transformation_mode half_pixel, mode avg, and sampling_ratio 2:
each of n x n bins is the mean of 2 x 2 bilinear samples; a sample more than one cell outside of the map counts as zero,
and one closer than that is moved to the border.

A bin is thus a weighted sum of at most 16 cells: two samples with two neighbors each, along y and along x. Both
implementations use the same indices and weights and differ only in the summation.

``tf.image.crop_and_resize`` has fused kernels for a GPU and isn't used: its backward pass raises an error under op
determinism, and it counts all samples outside of the map as zero, also those within one cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from maskrcnn_trainer.model.boxes import area
from maskrcnn_trainer.task.device import index_dtype, on_gpu

SAMPLES = 2
"""Samples of a bin along each axis (ONNX: sampling_ratio)."""

TAPS = (2 * SAMPLES) ** 2
"""Cells that a bin reads, including repeated ones."""

TAPS_AT_ONCE = 4
"""Taps whose products are held at once by "gather": more take more memory, fewer read and write the sum more often."""

CANONICAL_SIZE = 224.0
CANONICAL_LEVEL = 4

Implementation = Literal["auto", "sparse", "gather"]


def pyramid_level(boxes: tf.Tensor, min_level: int, max_level: int) -> tf.Tensor:
    """Return the level of boxes [.., 4]: floor(log2(sqrt(area) / 224)) + 4, clamped to the levels.

    Areas are compared with powers of two times 224**2 instead of taking logarithms. This is exact: a box of 448 x 448
    pixels is on level 5 on every device, and one without area is on min_level.

    Returns:
        ``index_dtype()`` [..].
    """
    bounds = [(CANONICAL_SIZE * 2.0 ** (level - CANONICAL_LEVEL)) ** 2 for level in range(min_level + 1, max_level + 1)]
    reached = area(boxes)[..., None] >= tf.constant(bounds, tf.float32, shape=[len(bounds)])
    return min_level + tf.reduce_sum(tf.cast(reached, index_dtype()), axis=-1)


def roi_align(
    features: Mapping[int, tf.Tensor],
    boxes: tf.Tensor,
    output_size: int,
    min_level: int,
    max_level: int,
    *,
    image_index: tf.Tensor | None = None,
    compiled: bool = False,
    implementation: Implementation = "auto",
) -> tf.Tensor:
    """Pool each box to ``output_size`` x ``output_size`` bins, from the pyramid level that fits its size.

    Args:
        features: level -> [B, h, w, C] of static shape, float32 or a 16-bit dtype; the level's stride is 2**level.
        boxes: [B, R, 4], y1 x1 y2 x2 in pixels of the padded image, without gradient. Positions and weights are
            computed in float32; a box with a coordinate that isn't finite is pooled like a box of zeros.
        output_size: n, bins along each side.
        min_level: lowest level to use.
        max_level: highest level to use; all levels between the two must be in ``features``.
        image_index: integers [1, R], the image of each box, for boxes [1, R, 4] that come from several images; by
            default boxes [i] belong to image i.
        compiled: whether the caller is traced for XLA (``jit_compile=True``).
        implementation: "sparse" is one product of a sparse matrix with the table of all cells (it has no XLA kernel);
            "gather" works everywhere, and is deterministic on a GPU if op determinism was enabled before it is traced.
            "auto" is "gather" under XLA or if there is a GPU, otherwise "sparse", which is the fastest on a CPU (see
            benchmarks/roi_align.py).

    Returns:
        [B, R, n, n, C] in the dtype of the features; sums are computed in float32.

    Raises:
        ValueError: a level is missing, or "sparse" is requested under XLA.
    """
    levels = range(min_level, max_level + 1)
    missing = [level for level in levels if level not in features]
    if missing:
        raise ValueError(f"features of level {missing[0]} are missing: levels {min_level} to {max_level} are used")
    if implementation == "auto":
        implementation = "gather" if compiled or on_gpu() else "sparse"
    elif implementation == "sparse" and compiled:
        raise ValueError('roi_align: implementation "sparse" has no XLA kernel, "gather" has')

    maps = [features[level] for level in levels]
    batch, rois, channels = boxes.shape[0], boxes.shape[1], maps[0].shape[-1]
    images = maps[0].shape[0]
    if image_index is None:
        image_index = np.arange(images)[:, None]
    sizes = [(m.shape[1], m.shape[2]) for m in maps]
    cells, weights = _taps(
        tf.stop_gradient(boxes),
        tf.cast(image_index, index_dtype()),
        images,
        sizes,
        min_level=min_level,
        output_size=output_size,
        taps_first=implementation == "gather",
    )
    table = tf.concat([tf.reshape(m, [-1, channels]) for m in maps], axis=0)
    pooled = (_sparse_sum if implementation == "sparse" else _gathered_sum)(table, cells, weights)
    return tf.reshape(pooled, [batch, rois, output_size, output_size, channels])


def _taps(
    boxes: tf.Tensor,
    image_index: tf.Tensor,
    images: int,
    sizes: list[tuple[int, int]],
    *,
    min_level: int,
    output_size: int,
    taps_first: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cells that each bin reads and their weights: ``index_dtype()`` and float32 [B * R * n * n, 16].

    A cell is an index into the table of all cells, in which the levels ascend and each has all its images in order.
    With ``taps_first`` both are [16, B * R * n * n], so that a tap of all bins is contiguous.
    """
    dtype = index_dtype()
    batch, rois = boxes.shape[0], boxes.shape[1]
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
    rows, row_weights = _axis_taps(y1, y2, height, output_size)
    columns, column_weights = _axis_taps(x1, x2, width, output_size)
    rows = first_cell[..., None, None] + rows * width[..., None, None]
    bins = batch * rois * output_size * output_size
    if taps_first:
        rows, row_weights, columns, column_weights = (
            tf.transpose(taps, [3, 0, 1, 2]) for taps in (rows, row_weights, columns, column_weights)
        )
        cells = rows[:, None, :, :, :, None] + columns[None, :, :, :, None, :]
        weights = row_weights[:, None, :, :, :, None] * column_weights[None, :, :, :, None, :]
        return tf.reshape(cells, [TAPS, bins]), tf.reshape(weights, [TAPS, bins])
    cells = rows[:, :, :, None, :, None] + columns[:, :, None, :, None, :]
    weights = row_weights[:, :, :, None, :, None] * column_weights[:, :, None, :, None, :]
    return tf.reshape(cells, [bins, TAPS]), tf.reshape(weights, [bins, TAPS])


def _axis_taps(start: tf.Tensor, end: tf.Tensor, size: tf.Tensor, output_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return positions, ``index_dtype()``, and weights, float32, along one axis: [B, R, n, 4] each.

    The weights of a bin sum to one, or to less if samples are outside of the map.

    Args:
        start: sides of the boxes where the axis begins, float32 [B, R], in cells.
        end: the opposite sides.
        size: sizes of their maps, ``index_dtype()`` [B, R].
        output_size: n, bins along the axis.
    """
    samples = SAMPLES * output_size
    fractions = (np.arange(samples, dtype=np.float32) + np.float32(0.5)) / np.float32(samples)
    position = (start - 0.5)[..., None] + (end - start)[..., None] * fractions
    limit = tf.cast(size, tf.float32)[..., None]
    inside = tf.cast((position >= -1.0) & (position <= limit), tf.float32) / SAMPLES
    position = tf.clip_by_value(position, 0.0, limit - 1.0)
    below = tf.floor(position)
    fraction = position - below
    low = tf.cast(below, index_dtype())
    high = tf.minimum(low + 1, size[..., None] - 1)
    shape = [*start.shape, output_size, 2 * SAMPLES]
    taps = tf.reshape(tf.stack([low, high], axis=-1), shape)
    weights = tf.reshape(tf.stack([(1.0 - fraction) * inside, fraction * inside], axis=-1), shape)
    return taps, weights


def _sparse_sum(table: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return weighted sums [bins, C] of cells, as a product with a sparse matrix; the gradient uses its transpose."""
    bins = cells.shape[0]
    rows = tf.repeat(tf.range(bins, dtype=tf.int64), TAPS)
    indices = tf.stack([rows, tf.cast(tf.reshape(cells, [-1]), tf.int64)], axis=-1)
    values = tf.reshape(weights, [-1])
    shape = tf.constant([bins, table.shape[0]], tf.int64)
    dtype = table.dtype

    # TensorFlow's gradient would include the weights, which doubles its cost if run eagerly.
    def product(dense: tf.Tensor) -> tuple[tf.Tensor, object]:
        result = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=indices, a_values=values, a_shape=shape, b=tf.cast(dense, tf.float32)
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            back = tf.raw_ops.SparseTensorDenseMatMul(
                a_indices=indices, a_values=values, a_shape=shape, b=tf.cast(upstream, tf.float32), adjoint_a=True
            )
            return tf.cast(back, dtype)

        return tf.cast(result, dtype), gradient

    return tf.custom_gradient(product)(table)


def _gathered_sum(table: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return the same sums from cells and weights [16, bins], for all bins together, a few taps after the other.

    These wait for the ones before, since TensorFlow would otherwise compute all at once: memory for sixteen [bins, C].
    """
    dtype, num_cells = table.dtype, table.shape[0]
    # Under op determinism TensorFlow scatters on the host, to which it would copy the table for each tap; a segment sum
    # stays on the GPU. Otherwise the update in place is faster: under XLA it takes half the time of a segment sum.
    backward = _segment_sums if on_gpu() and is_op_determinism_enabled() else _scattered_sums

    def total(dense: tf.Tensor) -> tuple[tf.Tensor, object]:
        result = tf.zeros([cells.shape[1], dense.shape[-1]], tf.float32)
        for first in range(0, TAPS, TAPS_AT_ONCE):
            with tf.control_dependencies([result]):
                taps = range(first, first + TAPS_AT_ONCE)
                products = [tf.cast(tf.gather(dense, cells[t]), tf.float32) * weights[t, :, None] for t in taps]
                result = tf.add_n([result, *products])

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.cast(backward(tf.cast(upstream, tf.float32), cells, weights, num_cells), dtype)

        return tf.cast(result, dtype), gradient

    return tf.custom_gradient(total)(table)


def _scattered_sums(upstream: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor, num_cells: int) -> tf.Tensor:
    """Return the gradient of the table, float32 [num_cells, C], from that of the sums, float32 [bins, C]."""
    back = tf.zeros([num_cells, upstream.shape[-1]], tf.float32)
    for tap in range(TAPS):
        with tf.control_dependencies([back]):
            updates = upstream * weights[tap, :, None]
        back = tf.tensor_scatter_nd_add(back, cells[tap, :, None], updates)
    return back


def _segment_sums(upstream: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor, num_cells: int) -> tf.Tensor:
    """Return the same gradient by segment sums, which have a deterministic kernel on a GPU."""
    channels = upstream.shape[-1]
    back = tf.zeros([num_cells, channels], tf.float32)
    for first in range(0, TAPS, TAPS_AT_ONCE):
        taps = slice(first, first + TAPS_AT_ONCE)
        with tf.control_dependencies([back]):
            updates = tf.reshape(upstream * weights[taps, :, None], [-1, channels])
        back += tf.math.unsorted_segment_sum(updates, tf.reshape(cells[taps], [-1]), num_cells)
    return back
