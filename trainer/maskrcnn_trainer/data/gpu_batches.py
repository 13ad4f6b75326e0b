"""Batches of a training on their way to a GPU: their form there, and the copy ahead of the step.

Images are sent as rounded pixels, a quarter of the bytes of normalized ones. TensorFlow keeps the int32 arguments of a
function in host memory, so each int32 tensor that had been copied to the GPU would be copied back before the step, and
the host would wait for it. Hence no int32 is sent.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from maskrcnn_trainer.data.transforms import normalized_images

SENT_TYPES = {"gt_classes": tf.int64, "rpn_labels": tf.int8}
"""Types in which the int32 entries of an element are sent."""

BATCHES_ON_GPU = 1
"""Batches copied ahead; a copy takes milliseconds and has the whole step before to end in."""


def sent_form(element: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return an element of ``training_dataset`` with the types in which it is sent to a GPU."""
    return {name: tf.cast(value, SENT_TYPES.get(name, value.dtype)) for name, value in element.items()}


def trained_form(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return a batch as a CPU trains on it; a batch in that form is returned as it is.

    Args:
        batch: element of ``training_dataset``: images uint8 with their ``image_info``, or float32.

    Returns:
        The batch with ``images`` float32 [B, H, W, 3], normalized, and the entries of ``SENT_TYPES`` in int32.
    """
    trained = {name: tf.cast(value, tf.int32) if name in SENT_TYPES else value for name, value in batch.items()}
    if batch["images"].dtype == tf.uint8:
        trained["images"] = normalized_images(batch["images"], batch["image_info"])
    return trained


def copied_ahead(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Return the data set with its next elements already on the GPU of this process.

    This must be the last transformation: the iterator is on the device of the last one, and another one, or options,
    would bring it back to the CPU. Options of ``dataset`` continue to apply to what is before the copy.

    Args:
        dataset: its elements have neither strings, which no GPU can hold, nor int32.
    """
    gpu = tf.config.list_logical_devices("GPU")[0].name
    return dataset.apply(tf.data.experimental.prefetch_to_device(gpu, buffer_size=BATCHES_ON_GPU))
