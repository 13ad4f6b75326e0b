"""Weighted sums of rows of a table, in the dtype of the table and computed in float32, with gradients of the table.

Weights have no gradient: TensorFlow's own would include it, which doubles the cost if run eagerly.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework.config import is_op_determinism_enabled

from maskrcnn_trainer.task.device import on_gpu

TAPS_AT_ONCE = 4
"""Taps whose products are held at once by `gathered_sums`: more take more memory, fewer read and write the sum more
often."""


def sparse_sums(table: tf.Tensor, bins: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor, count: int) -> tf.Tensor:
    """Return sums [count, C] as a product with a sparse matrix; the gradient uses its transpose.

    Args:
        table: [cells, C].
        bins: int64 [entries], the sum that each entry belongs to, ascending.
        cells: integers [entries], the row of the table that each entry reads.
        weights: float32 [entries].
        count: number of sums.
    """
    indices = tf.stack([bins, tf.cast(cells, tf.int64)], axis=-1)
    shape = tf.constant([count, table.shape[0]], tf.int64)
    dtype = table.dtype

    def product(dense: tf.Tensor) -> tuple[tf.Tensor, object]:
        result = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=indices, a_values=weights, a_shape=shape, b=tf.cast(dense, tf.float32)
        )

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            back = tf.raw_ops.SparseTensorDenseMatMul(
                a_indices=indices, a_values=weights, a_shape=shape, b=tf.cast(upstream, tf.float32), adjoint_a=True
            )
            return tf.cast(back, dtype)

        return tf.cast(result, dtype), gradient

    return tf.custom_gradient(product)(table)


def gathered_sums(table: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return sums [bins, C] for all bins together, a few taps after the other.

    These wait for the ones before, since TensorFlow would otherwise compute all at once: memory for all [bins, C].

    Args:
        table: [cells, C].
        cells: ``index_dtype()`` [taps, bins], rows of the table.
        weights: float32 [taps, bins].
    """
    dtype, num_cells, num_taps = table.dtype, table.shape[0], cells.shape[0]
    backward = _segment_sums if adds_by_segments() else _scattered_sums

    def total(dense: tf.Tensor) -> tuple[tf.Tensor, object]:
        result = tf.zeros([cells.shape[1], dense.shape[-1]], tf.float32)
        for first in range(0, num_taps, TAPS_AT_ONCE):
            with tf.control_dependencies([result]):
                taps = range(first, min(first + TAPS_AT_ONCE, num_taps))
                products = [tf.cast(tf.gather(dense, cells[t]), tf.float32) * weights[t, :, None] for t in taps]
                result = tf.add_n([result, *products])

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.cast(backward(tf.cast(upstream, tf.float32), cells, weights, num_cells), dtype)

        return tf.cast(result, dtype), gradient

    return tf.custom_gradient(total)(table)


def adds_by_segments() -> bool:
    """Return whether rows are added to a table by segment sums instead of in place, with the same values.

    Under op determinism TensorFlow scatters on the host, to which it would copy the table; a segment sum stays on the
    GPU. Otherwise the update in place is faster: under XLA it takes half the time of a segment sum.
    """
    return on_gpu() and bool(is_op_determinism_enabled())


def row_adder() -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a function of a table float32 [cells, C], rows' indices [N], and rows [N, C] that adds them to it."""
    if adds_by_segments():
        return lambda table, cells, rows: table + tf.math.unsorted_segment_sum(rows, cells, table.shape[0])
    return lambda table, cells, rows: tf.tensor_scatter_nd_add(table, cells[:, None], rows)


def _scattered_sums(upstream: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor, num_cells: int) -> tf.Tensor:
    """Return the gradient of the table, float32 [num_cells, C], from that of the sums, float32 [bins, C]."""
    back = tf.zeros([num_cells, upstream.shape[-1]], tf.float32)
    for tap in range(cells.shape[0]):
        with tf.control_dependencies([back]):
            updates = upstream * weights[tap, :, None]
        back = tf.tensor_scatter_nd_add(back, cells[tap, :, None], updates)
    return back


def _segment_sums(upstream: tf.Tensor, cells: tf.Tensor, weights: tf.Tensor, num_cells: int) -> tf.Tensor:
    """Return the same gradient by segment sums, which have a deterministic kernel on a GPU."""
    channels = upstream.shape[-1]
    back = tf.zeros([num_cells, channels], tf.float32)
    for first in range(0, cells.shape[0], TAPS_AT_ONCE):
        taps = slice(first, first + TAPS_AT_ONCE)
        with tf.control_dependencies([back]):
            updates = tf.reshape(upstream * weights[taps, :, None], [-1, channels])
        back += tf.math.unsorted_segment_sum(updates, tf.reshape(cells[taps], [-1]), num_cells)
    return back
