"""Mask head (He et al. 2017, arXiv:1703.06870): four convolutions, upsampling by 2, and one mask for each class."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras
import tensorflow as tf

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Convolution, Initializers
from maskrcnn_trainer.model.fpn import FILTERS


def build_mask_head(
    architecture: Architecture,
    channels: int,
    *,
    conv: Callable[..., Convolution],
    dtype: keras.DTypePolicy,
    initializers: Initializers,
) -> tuple[keras.Model, keras.Model, list[keras.layers.Layer]]:
    """Build the head on pooled features [R, n, n, channels], n = mrcnn_resolution / 2.

    Kernels are initialized with N(0, 2 / (k k filters)) (He et al. 2015, arXiv:1502.01852, fan-out form), except for
    ``mask_fcn_logits`` with N(0, 0.01^2): with two classes that rule would give a deviation of 1, which destroys
    pretrained features in the first steps.

    Args:
        architecture: of the network.
        channels: of the pooled features.
        conv: creates a convolution from (name, filters, kernel_size) and keyword arguments.
        dtype: of the layers.
        initializers: of the kernels.

    Returns:
        The model, whose output is mask logits [R, 2n, 2n, K] in float32; a model of its four convolutions only, with
        output [R, n, n, filters] (see `mask_logits_of_class`); and the layers in listing order.
    """
    n = architecture.mrcnn_resolution // 2

    def msra(name: str, kernel_size: int, filters: int) -> keras.initializers.Initializer:
        return initializers.normal(name, math.sqrt(2.0 / (kernel_size * kernel_size * filters)))

    convs = []
    for i in range(4):
        name = f"mask-conv-l{i}"
        filters = architecture.width(name, FILTERS)
        convs.append(conv(name, filters, 3, activation="relu", kernel_initializer=msra(name, 3, filters)))
    filters = architecture.width("conv5-mask", FILTERS)
    double = keras.layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        padding="valid",
        activation="relu",
        kernel_initializer=msra("conv5-mask", 2, filters),
        name="conv5-mask",
        dtype=dtype,
    )
    last = conv(
        "mask_fcn_logits",
        architecture.num_classes,
        1,
        kernel_initializer=initializers.normal("mask_fcn_logits", stddev=0.01),
    )

    pooled = keras.Input((n, n, channels), name="mask_roi_features", dtype=dtype.compute_dtype)
    x = pooled
    for layer in convs:
        x = layer(x)
    logits = keras.layers.Activation("linear", name="mask_logits", dtype="float32")(last(double(x)))
    head = keras.Model(pooled, logits, name="mask_head")
    return head, keras.Model(pooled, x, name="mask_head_convs"), [*convs, double, last]


def mask_logits_of_class(
    hidden: tf.Tensor, class_ids: tf.Tensor, double: keras.layers.Conv2DTranspose, last: Convolution
) -> tf.Tensor:
    """Return the result of the last two layers for one class of each instance, without computing the other classes.

    The windows of a 2x2 transposed convolution of stride 2 do not overlap, so it is one matrix product with four output
    pixels. The pixels are put in order after the last product, when only one channel is left.

    Args:
        hidden: [R, n, n, C], output of the mask head's four convolutions.
        class_ids: int32 [R]; an instance with an invalid id gets zeros.
        double: the layer ``conv5-mask``.
        last: the layer ``mask_fcn_logits``.

    Returns:
        float32 [R, 2n, 2n].
    """
    dtype = hidden.dtype
    n, channels = hidden.shape[1], hidden.shape[3]
    kernel = tf.cast(tf.convert_to_tensor(double.kernel), dtype)  # [2, 2, filters, C]
    filters = kernel.shape[2]
    flat = tf.matmul(tf.reshape(hidden, (-1, channels)), tf.reshape(kernel, (-1, channels)), transpose_b=True)
    flat = tf.nn.bias_add(flat, tf.tile(tf.cast(tf.convert_to_tensor(double.bias), dtype), (4,)))
    doubled = tf.reshape(tf.nn.relu(flat), (-1, n * n * 4, filters))

    # A product with one-hot vectors instead of a gather: its gradient is a product too, so it is deterministic.
    chosen = tf.one_hot(class_ids, last.filters, dtype=tf.float32)
    weights = tf.matmul(chosen, tf.reshape(tf.convert_to_tensor(last.kernel), (filters, -1)), transpose_b=True)
    bias = tf.linalg.matvec(chosen, tf.convert_to_tensor(last.bias))
    logits = tf.matmul(doubled, tf.cast(weights, dtype)[:, :, tf.newaxis])
    logits = tf.reshape(tf.cast(logits, tf.float32), (-1, n, n, 2, 2)) + bias[:, None, None, None, None]
    logits = tf.transpose(logits, (0, 1, 3, 2, 4))
    return tf.ensure_shape(tf.reshape(logits, (-1, 2 * n, 2 * n)), (hidden.shape[0], 2 * n, 2 * n))
