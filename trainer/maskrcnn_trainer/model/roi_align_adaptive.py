"""RoIAlign whose number of samples follows the size of a box: sampling_ratio 0 of ONNX, torchvision, and Detectron2.

Along each axis a bin has ceil(side of the box in cells / bins) samples, without a limit. A side of zero or less, which
only aligned boxes can have, thus has no samples, and such a box is pooled to zeros.

The mean over a bin's samples of bilinear weights is the product of a row's weight and a column's weight. Samples are at
most one cell apart, so a bin reads each cell of a rectangle, and only the samples within one cell of a row or column
count for its weight: if a bin has more than two, they are more than 2/3 of a cell apart, so only the nearest one and
its neighbors. Thus the cost of a weight doesn't grow with the number of samples. There are two ways to sum:

* On a CPU, the product of a sparse matrix, with an entry for each cell of each bin's rectangle, with the table of all
  cells. The number of entries depends on the boxes.
* With static shapes, for GPUs and XLA: the cells that a box reads, its window, are copied from the table, and one dense
  product sums them for all bins. A box's level limits its area in cells, though not its sides, so the largest window of
  any box is known: see `largest_window`. Boxes are pooled a few at a time, so that windows take little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.eager.record import stop_recording

from maskrcnn_trainer.model.cell_sums import row_adder, sparse_sums
from maskrcnn_trainer.model.roi_levels import BoxesInCells, Side, level_bounds
from maskrcnn_trainer.task.device import index_dtype

NEIGHBORS = range(-1, 2)
"""Samples that can be within one cell of a cell's center, counted from the nearest one."""

LARGEST_POSITION = 2.0**20
"""Cells; boxes end there, since float32 could not count the samples of larger ones."""

ELEMENTS_AT_ONCE = 2**25
"""Numbers in the windows of the boxes that are pooled at once, and in their weights: 128 MiB each."""


class _Samples(NamedTuple):
    """Samples of boxes [N] along one axis, float32 in cells.

    Attributes:
        start: where the first bin begins.
        bin_size: size of a bin.
        per_bin: number of samples of a bin, at least 0.
        last: the last cell of the map.
    """

    start: tf.Tensor
    bin_size: tf.Tensor
    per_bin: tf.Tensor
    last: tf.Tensor

    def position(self, bins: tf.Tensor, sample: tf.Tensor) -> tf.Tensor:
        """Return the positions, float32 [N, .., n], of one sample of each bin.

        Args:
            bins: float32 [n], numbers of bins.
            sample: its number, float32 [N, .., n] or a shape that broadcasts to it.
        """
        shape = [-1, *[1] * (sample.shape.rank - 1)]
        size, per_bin = tf.reshape(self.bin_size, shape), tf.maximum(tf.reshape(self.per_bin, shape), 1.0)
        return tf.reshape(self.start, shape) + bins * size + (sample + 0.5) * size / per_bin

    def cells(self, bins: tf.Tensor, last_bins: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the first cell that samples read, and the number of cells up to the last one, float32 [N, n].

        Args:
            bins: float32 [n], bins of the first sample.
            last_bins: float32 [n], bins of the last sample.
        """
        last = self.last[:, None]
        most = tf.maximum(self.per_bin, 1.0)[:, None]
        first_sample = tf.clip_by_value(self.position(bins, tf.zeros_like(most)), 0.0, last)
        last_sample = tf.clip_by_value(self.position(last_bins, most - 1.0), 0.0, last)
        first = tf.floor(first_sample)
        count = tf.minimum(tf.floor(last_sample) + 1.0, last) - first + 1.0
        return first, tf.where(self.per_bin[:, None] > 0.0, count, 1.0)

    def weights(self, cells: tf.Tensor, output_size: int) -> tf.Tensor:
        """Return the weight of cells in the mean of each bin, float32 [N, J, n]; 0 for a cell outside of the map.

        Args:
            cells: float32 [N, J, n] or [N, J, 1], whole numbers.
            output_size: n.
        """
        bins = tf.range(output_size, dtype=tf.float32)
        last, per_bin = self.last[:, None, None], self.per_bin[:, None, None]
        spacing = tf.maximum(self.bin_size / tf.maximum(self.per_bin, 1.0), 1e-30)[:, None, None]
        bin_start = self.start[:, None, None] + bins * self.bin_size[:, None, None]
        nearest = tf.clip_by_value(tf.round((cells - bin_start) / spacing - 0.5), 0.0, tf.maximum(per_bin - 1.0, 0.0))
        total = tf.zeros_like(nearest)
        for neighbor in NEIGHBORS:
            sample = nearest + neighbor
            position = self.position(bins, sample)
            counts = (sample >= 0.0) & (sample < per_bin) & (position >= -1.0) & (position <= last + 1.0)
            distance = tf.abs(cells - tf.clip_by_value(position, 0.0, last))
            total += tf.where(counts, tf.maximum(1.0 - distance, 0.0), 0.0)
        return total / tf.maximum(per_bin, 1.0)


class _SampledBoxes(NamedTuple):
    """Boxes [N] with their samples.

    Attributes:
        rows: along y.
        columns: along x.
        first_cell: ``index_dtype()``, index of the first cell of the box's map in the table.
        width: ``index_dtype()``, width of the map in cells.
    """

    rows: _Samples
    columns: _Samples
    first_cell: tf.Tensor
    width: tf.Tensor


def adaptive_roi_align(
    table: tf.Tensor,
    boxes: BoxesInCells,
    sizes: Sequence[tuple[int, int]],
    output_size: int,
    *,
    min_level: int,
    aligned: bool,
    by_sparse_product: bool,
) -> tf.Tensor:
    """Return pooled features [B * R * n * n, C] in the dtype of the table.

    Args:
        table: [cells, C], all cells of all levels.
        boxes: boxes [B, R] in cells of their levels.
        sizes: (height, width) in cells of each level from ``min_level``.
        output_size: n, bins along each side of a box.
        min_level: the lowest level.
        aligned: whether the center of the first cell is at half a cell.
        by_sparse_product: sum with a sparse matrix, which has no XLA kernel and none for GPUs.
    """
    sampled = _SampledBoxes(
        rows=_samples(boxes.rows, output_size, aligned=aligned),
        columns=_samples(boxes.columns, output_size, aligned=aligned),
        first_cell=tf.reshape(boxes.first_cell, [-1]),
        width=tf.reshape(boxes.columns.size, [-1]),
    )
    if by_sparse_product:
        return _sparse_sums(table, sampled, output_size)
    slots = max(largest_window(size, min_level + i, min_level + len(sizes) - 1) for i, size in enumerate(sizes))
    sides = max(height for height, _ in sizes), max(width for _, width in sizes)
    return _window_sums(table, _windows(sampled, sides, output_size), slots, output_size)


def largest_window(size: tuple[int, int], level: int, max_level: int) -> int:
    """Return the largest number of cells that a box reads from a level.

    A side of s cells reads at most ceil(s) + 2 rows or columns, and not more than the map has. Below ``max_level``, the
    area of a box is less than that of the level's bound.

    Args:
        size: (height, width) of the level in cells.
        level: the level.
        max_level: highest level that is used.
    """
    height, width = size
    if level == max_level:
        return height * width
    # A bit more than the area, which is computed with rounding.
    area = level_bounds(level, level + 1)[0] / 4.0**level * (1.0 + 1e-5)
    windows = []
    for rows in range(1, height + 1):
        shortest = rows - 3  # a longer side than this is needed to read as many rows
        columns = width if shortest <= 0 else min(width, -int(-area // shortest) + 2)
        windows.append(rows * columns)
    return max(windows)


def _samples(side: Side, output_size: int, *, aligned: bool) -> _Samples:
    """Return the samples of boxes [B, R] as [B * R]; rounded as in torchvision (csrc/ops/cpu/roi_align_kernel.cpp)."""
    start, end = (
        tf.clip_by_value(tf.reshape(of_boxes, [-1]), -LARGEST_POSITION, LARGEST_POSITION) for of_boxes in side[:2]
    )
    if aligned:
        start, end = start - 0.5, end - 0.5
    length = end - start if aligned else tf.maximum(end - start, 1.0)
    # XLA multiplies by the reciprocal instead of dividing: a bin would have 4 samples for 21 cells in 7 bins.
    per_bin = tf.math.ceil(length / output_size)
    per_bin = tf.where((per_bin - 1.0) * output_size >= length, per_bin - 1.0, per_bin)
    per_bin = tf.maximum(tf.where(per_bin * output_size < length, per_bin + 1.0, per_bin), 0.0)
    return _Samples(start, length / output_size, per_bin, tf.cast(tf.reshape(side.size, [-1]), tf.float32) - 1.0)


def _sparse_sums(table: tf.Tensor, boxes: _SampledBoxes, output_size: int) -> tf.Tensor:
    """Return the sums of all bins as a product with a sparse matrix."""
    count = boxes.first_cell.shape[0]
    bins = count * output_size**2
    (first_row, num_rows, row_weights), (first_column, num_columns, column_weights) = (
        _weights_of_bins(samples, output_size) for samples in (boxes.rows, boxes.columns)
    )

    def of_bins(of_rows: tf.Tensor, of_columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shape = [count, output_size, output_size]
        return (
            tf.reshape(tf.broadcast_to(of_rows[:, :, None], shape), [-1]),
            tf.reshape(tf.broadcast_to(of_columns[:, None], shape), [-1]),
        )

    # Entries of a bin follow each other, row by row.
    heights, widths = of_bins(num_rows, num_columns)
    ends = tf.cumsum(heights * widths)
    starts = tf.concat([[0], ends[:-1]], axis=0)
    marks = tf.tensor_scatter_nd_add(tf.zeros([ends[-1]], tf.int32), starts[1:, None], tf.ones([bins - 1], tf.int32))
    entry_bin = tf.cumsum(marks)
    within = tf.range(ends[-1]) - tf.gather(starts, entry_bin)
    widths = tf.gather(widths, entry_bin)
    row = within // widths
    column = within - row * widths

    most_rows, most_columns = tf.shape(row_weights)[2], tf.shape(column_weights)[2]
    numbers = tf.reshape(tf.range(count * output_size), [count, output_size])
    row_start, column_start = of_bins(numbers * most_rows, numbers * most_columns)
    weights = tf.gather(tf.reshape(row_weights, [-1]), tf.gather(row_start, entry_bin) + row) * tf.gather(
        tf.reshape(column_weights, [-1]), tf.gather(column_start, entry_bin) + column
    )
    corner_row, corner_column = of_bins(first_row, first_column)
    of_box = tf.cast(tf.stack([boxes.first_cell, boxes.width], axis=-1), tf.int32)
    first_cell, stride = tf.unstack(tf.repeat(of_box, output_size**2, axis=0), axis=-1)
    corner = first_cell + corner_row * stride + corner_column
    cells = tf.gather(corner, entry_bin) + row * tf.gather(stride, entry_bin) + column
    return sparse_sums(table, tf.cast(entry_bin, tf.int64), cells, weights, bins)


def _weights_of_bins(samples: _Samples, output_size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the first cell and the number of cells of each bin, int32 [N, n], and their weights, float32 [N, n, J].

    J is the largest number of cells, which is known only at run time.
    """
    bins = tf.range(output_size, dtype=tf.float32)
    first, count = samples.cells(bins, bins)
    offsets = tf.range(tf.reduce_max(count), dtype=tf.float32)
    weights = samples.weights(first[:, None, :] + offsets[:, None], output_size)
    return tf.cast(first, tf.int32), tf.cast(count, tf.int32), tf.transpose(weights, [0, 2, 1])


class _Windows(NamedTuple):
    """Windows of boxes [N]: the cells that a box reads, and their weights.

    Attributes:
        corner: ``index_dtype()`` [N], index of the first cell in the table.
        stride: ``index_dtype()`` [N], width of the map.
        height: float32 [N], rows of the window.
        width: float32 [N], columns of the window.
        row_weights: float32 [N, J, n], of the rows in each row of bins; rows beyond the window aren't used.
        column_weights: likewise.
    """

    corner: tf.Tensor
    stride: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    row_weights: tf.Tensor
    column_weights: tf.Tensor


def _windows(boxes: _SampledBoxes, sides: tuple[int, int], output_size: int) -> _Windows:
    """Return the windows of boxes; ``sides`` are the largest height and width of a level in cells."""
    whole = tf.constant([0.0]), tf.constant([output_size - 1.0])
    found = []
    for samples, side in zip(boxes[:2], sides, strict=True):
        first, count = samples.cells(*whole)
        weights = samples.weights(first[:, :, None] + tf.range(side, dtype=tf.float32)[:, None], output_size)
        found.append((tf.cast(first[:, 0], index_dtype()), count[:, 0], weights))
    (row, height, row_weights), (column, width, column_weights) = found
    corner = boxes.first_cell + row * boxes.width + column
    return _Windows(corner, boxes.width, height, width, row_weights, column_weights)


def _window_sums(table: tf.Tensor, windows: _Windows, slots: int, output_size: int) -> tf.Tensor:
    """Return the sums of all bins [N * n * n, C], a few boxes after the other.

    Args:
        table: [cells, C].
        windows: of boxes [N].
        slots: cells of the largest window.
        output_size: n.
    """
    boxes, channels, bins, dtype = windows.corner.shape[0], table.shape[1], output_size**2, table.dtype
    at_once = min(boxes, max(1, ELEMENTS_AT_ONCE // (slots * max(channels, bins))))
    rounds = -(-boxes // at_once)
    padding = rounds * at_once - boxes

    def in_rounds(of_boxes: tf.Tensor) -> tf.Tensor:
        # Not tf.pad, which has no kernel for int64 on GPUs.
        padded = tf.concat([of_boxes, tf.zeros([padding, *of_boxes.shape[1:]], of_boxes.dtype)], axis=0)
        return tf.reshape(padded, [rounds, at_once, *of_boxes.shape[1:]])

    parts = _Windows(*(in_rounds(of_boxes) for of_boxes in windows))

    def part(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _cells_and_weights(_Windows(*(of_boxes[number] for of_boxes in parts)), slots)

    def total(dense: tf.Tensor) -> tuple[tf.Tensor, object]:
        def pool(number: tf.Tensor, sums: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            cells, weights = part(number)
            read = tf.cast(tf.gather(dense, cells), tf.float32)
            return number + 1, sums.write(number, tf.cast(tf.matmul(weights, read, transpose_a=True), dtype))

        sums = tf.TensorArray(dtype, rounds, element_shape=[at_once, bins, channels])
        # Under a persistent tape the loop would store all windows for a gradient of its own.
        with stop_recording():
            _, sums = tf.while_loop(lambda number, _: number < rounds, pool, [0, sums])
        result = tf.reshape(sums.stack(), [rounds * at_once * bins, channels])[: boxes * bins]

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            add_rows = row_adder()
            of_rounds = in_rounds(tf.reshape(upstream, [boxes, bins, channels]))

            def spread(number: tf.Tensor, back: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                cells, weights = part(number)
                updates = tf.matmul(weights, tf.cast(of_rounds[number], tf.float32))
                return number + 1, add_rows(back, tf.reshape(cells, [-1]), tf.reshape(updates, [-1, channels]))

            back = tf.zeros(dense.shape, tf.float32)
            _, back = tf.while_loop(lambda number, _: number < rounds, spread, [0, back])
            return tf.cast(back, dtype)

        return result, gradient

    return tf.custom_gradient(total)(table)


def _cells_and_weights(windows: _Windows, slots: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the cells in the windows of a few boxes, ``index_dtype()`` [K, T], and their weights, float32 [K, T, n*n].

    Slots that a window doesn't fill repeat its cells, with a weight of 0: a cell of another box might not be finite.
    """
    height = tf.maximum(windows.height[:, None], 1.0)  # boxes that fill the last round have none
    width = tf.maximum(windows.width[:, None], 1.0)
    slot = tf.range(slots, dtype=tf.float32)
    # Half a slot more makes the quotients exact in spite of rounding.
    slot_of_window = slot - tf.floor((slot + 0.5) / (height * width)) * height * width
    row = tf.floor((slot_of_window + 0.5) / width)
    column = slot_of_window - row * width
    row, column = tf.cast(row, index_dtype()), tf.cast(column, index_dtype())
    filled = tf.cast(slot < height * width, tf.float32)[..., None]
    row_weights = tf.gather(windows.row_weights, row, batch_dims=1) * filled
    column_weights = tf.gather(windows.column_weights, column, batch_dims=1)
    weights = row_weights[..., :, None] * column_weights[..., None, :]
    cells = windows.corner[:, None] + row * windows.stride[:, None] + column
    return cells, tf.reshape(weights, [*cells.shape, -1])
