"""The device that this process computes on."""

from __future__ import annotations


def on_gpu() -> bool:
    """Return whether TensorFlow places this process's operations on a GPU.

    Functions that choose between implementations call this while they are traced, so that a test can trace them as on a
    machine with a GPU by replacing ``tf.config.list_logical_devices``.
    """
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))
