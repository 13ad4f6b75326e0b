"""Box head of Fast R-CNN (Girshick 2015, arXiv:1504.08083): two hidden layers, then class logits and box deltas."""

from __future__ import annotations

import keras

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Initializers


def build_box_head(
    architecture: Architecture, channels: int, *, dtype: keras.DTypePolicy, initializers: Initializers
) -> tuple[keras.Model, list[keras.layers.Layer]]:
    """Build the head on pooled features [R, n, n, channels], n = mrcnn_resolution / 4.

    Features are flattened in C, H, W order, which is the order of the rows of ``fc6/kernel`` in models of TAO Toolkit.

    Args:
        architecture: of the network.
        channels: of the pooled features.
        dtype: of the layers.
        initializers: of the kernels.

    Returns:
        The model, whose outputs are class logits [R, K] and box deltas [R, K, 4] in float32, and its layers in
        listing order.
    """
    n = architecture.mrcnn_resolution // 4
    num_classes = architecture.num_classes

    def dense(
        name: str, units: int, *, activation: str | None = None, stddev: float | None = None
    ) -> keras.layers.Dense:
        kernel = initializers.glorot(name) if stddev is None else initializers.normal(name, stddev)
        return keras.layers.Dense(units, activation=activation, kernel_initializer=kernel, name=name, dtype=dtype)

    width = architecture.fast_rcnn_mlp_head_dim
    fc6 = dense("fc6", architecture.width("fc6", width), activation="relu")
    fc7 = dense("fc7", architecture.width("fc7", width), activation="relu")
    classes = dense("class-predict", num_classes, stddev=0.01)
    boxes = dense("box-predict", 4 * num_classes, stddev=0.001)

    pooled = keras.Input((n, n, channels), name="box_roi_features", dtype=dtype.compute_dtype)
    x = keras.layers.Permute((3, 1, 2), name="box_head_chw", dtype=dtype)(pooled)
    x = keras.layers.Flatten(name="box_head_flatten", dtype=dtype)(x)
    x = fc7(fc6(x))
    logits = keras.layers.Activation("linear", name="class_logits", dtype="float32")(classes(x))
    deltas = keras.layers.Reshape((num_classes, 4), name="box_deltas", dtype="float32")(boxes(x))
    return keras.Model(pooled, [logits, deltas], name="box_head"), [fc6, fc7, classes, boxes]
