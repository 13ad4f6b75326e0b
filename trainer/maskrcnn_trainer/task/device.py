"""The device that this process computes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def on_gpu() -> bool:
    """Return whether TensorFlow places this process's operations on a GPU.

    Functions that choose between implementations call this while they are traced, so that a test can trace them as on a
    machine with a GPU by replacing ``tf.config.list_logical_devices``.
    """
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def index_dtype() -> tf.DType:
    """Return the integer type of index arithmetic: int64 on a GPU, where TensorFlow computes int32 on the host."""
    import tensorflow as tf

    return tf.int64 if on_gpu() else tf.int32
