"""RoIAlign over a feature pyramid (He et al., arXiv:1703.06870).

Values are those of ONNX RoiAlign-16 with mode avg: each of n x n bins is the mean of bilinear samples, of which it has
the same number at equal distances along each axis; a sample more than one cell outside of the map counts as zero, and
one closer than that is moved to the border. Boxes of torchvision, Detectron2, and MMDetection are sampled so, too:

* aligned (coordinate_transformation_mode half_pixel): the center of cell i is at i + 0.5 cells. Otherwise
  (output_half_pixel) it is at i, and a box narrower than a cell is widened to one cell at its end.
* sampling_ratio samples along each axis of a bin; 0 is adaptive, see `roi_align_adaptive`.

With a fixed number of samples s, a bin is a weighted sum of at most (2 s)**2 cells: s samples with two neighbors each,
along y and along x. Both implementations use the same indices and weights and differ only in the summation.

``tf.image.crop_and_resize`` has fused kernels for a GPU and isn't used: its backward pass raises an error under op
determinism, and it counts all samples outside of the map as zero, also those within one cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.model.cell_sums import gathered_sums, sparse_sums
from maskrcnn_trainer.model.roi_align_adaptive import adaptive_roi_align
from maskrcnn_trainer.model.roi_levels import BoxesInCells, Side, place_boxes
from maskrcnn_trainer.task.device import index_dtype, on_gpu

Implementation = Literal["auto", "sparse", "gather"]


def roi_align(
    features: Mapping[int, tf.Tensor],
    boxes: tf.Tensor,
    output_size: int,
    min_level: int,
    max_level: int,
    *,
    sampling_ratio: int = 2,
    aligned: bool = True,
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
        max_level: highest level to use; all levels between the two must be in ``features``, which may have others.
        sampling_ratio: samples of a bin along each axis, at least 1, or 0: ceil(side of the box in cells / n).
        aligned: whether the center of the first cell is at half a cell.
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
        ValueError: a level is missing, ``sampling_ratio`` is negative, or "sparse" is requested under XLA.
    """
    levels = range(min_level, max_level + 1)
    missing = [level for level in levels if level not in features]
    if missing:
        raise ValueError(f"features of level {missing[0]} are missing: levels {min_level} to {max_level} are used")
    if sampling_ratio < 0:
        raise ValueError(f"sampling_ratio: {sampling_ratio} is not a number of samples, or 0 for an adaptive number")
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
    placed = place_boxes(tf.stop_gradient(boxes), tf.cast(image_index, index_dtype()), images, sizes, min_level)
    table = tf.concat([tf.reshape(m, [-1, channels]) for m in maps], axis=0)
    by_sparse_product = implementation == "sparse"
    if sampling_ratio == 0:
        pooled = adaptive_roi_align(
            table, placed, sizes, output_size, min_level=min_level, aligned=aligned, by_sparse_product=by_sparse_product
        )
    else:
        pooled = _fixed_roi_align(
            table, placed, output_size, sampling_ratio, aligned=aligned, by_sparse_product=by_sparse_product
        )
    return tf.reshape(pooled, [batch, rois, output_size, output_size, channels])


def _fixed_roi_align(
    table: tf.Tensor, boxes: BoxesInCells, output_size: int, samples: int, *, aligned: bool, by_sparse_product: bool
) -> tf.Tensor:
    """Return pooled features [B * R * n * n, C] of bins with the same number of samples."""
    rows, row_weights = _axis_taps(boxes.rows, output_size, samples, aligned=aligned)
    columns, column_weights = _axis_taps(boxes.columns, output_size, samples, aligned=aligned)
    rows = boxes.first_cell[..., None, None] + rows * boxes.columns.size[..., None, None]
    bins = boxes.first_cell.shape.num_elements() * output_size**2
    taps = (2 * samples) ** 2
    if by_sparse_product:
        cells = rows[:, :, :, None, :, None] + columns[:, :, None, :, None, :]
        weights = row_weights[:, :, :, None, :, None] * column_weights[:, :, None, :, None, :]
        entries = tf.repeat(tf.range(bins, dtype=tf.int64), taps)
        return sparse_sums(table, entries, tf.reshape(cells, [-1]), tf.reshape(weights, [-1]), bins)
    # A tap of all bins is contiguous.
    rows, row_weights, columns, column_weights = (
        tf.transpose(of_axis, [3, 0, 1, 2]) for of_axis in (rows, row_weights, columns, column_weights)
    )
    cells = rows[:, None, :, :, :, None] + columns[None, :, :, :, None, :]
    weights = row_weights[:, None, :, :, :, None] * column_weights[None, :, :, :, None, :]
    return gathered_sums(table, tf.reshape(cells, [taps, bins]), tf.reshape(weights, [taps, bins]))


def _axis_taps(side: Side, output_size: int, samples: int, *, aligned: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Return positions, ``index_dtype()``, and weights, float32, along one axis: [B, R, n, 2 * samples] each.

    The weights of a bin sum to one, or to less if samples are outside of the map.

    Args:
        side: the boxes along the axis.
        output_size: n, bins along the axis.
        samples: of a bin along the axis.
        aligned: see `roi_align`.
    """
    total = samples * output_size
    fractions = (np.arange(total, dtype=np.float32) + np.float32(0.5)) / np.float32(total)
    length = side.end - side.start
    start = side.start - 0.5 if aligned else side.start
    position = start[..., None] + (length if aligned else tf.maximum(length, 1.0))[..., None] * fractions
    limit = tf.cast(side.size, tf.float32)[..., None]
    inside = tf.cast((position >= -1.0) & (position <= limit), tf.float32) / samples
    position = tf.clip_by_value(position, 0.0, limit - 1.0)
    below = tf.floor(position)
    fraction = position - below
    low = tf.cast(below, index_dtype())
    high = tf.minimum(low + 1, side.size[..., None] - 1)
    shape = [*side.start.shape, output_size, 2 * samples]
    taps = tf.reshape(tf.stack([low, high], axis=-1), shape)
    weights = tf.reshape(tf.stack([(1.0 - fraction) * inside, fraction * inside], axis=-1), shape)
    return taps, weights
