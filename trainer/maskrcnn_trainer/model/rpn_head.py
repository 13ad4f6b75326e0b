"""Head of the region proposal network (Ren et al. 2015, arXiv:1506.01497), shared by all levels."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Convolution, Initializers
from maskrcnn_trainer.model.fpn import FILTERS


def build_rpn_head(
    maps: dict[int, keras.KerasTensor],
    architecture: Architecture,
    *,
    conv: Callable[..., Convolution],
    initializers: Initializers,
) -> tuple[keras.KerasTensor, keras.KerasTensor, list[keras.layers.Layer]]:
    """Build ``rpn`` (3x3, ReLU), ``rpn-class``, and ``rpn-box`` (1x1) on every level.

    Kernels are initialized with N(0, 0.01^2).

    Args:
        maps: feature maps [B, H, W, C] by level.
        architecture: of the network.
        conv: creates a convolution from (name, filters, kernel_size) and keyword arguments.
        initializers: of the kernels.

    Returns:
        Logits [B, A] and deltas (dy, dx, dh, dw) [B, A, 4], float32, of all anchors of all levels in anchor order
        (levels ascending, cells row-major, then the anchors of a cell), and the layers in listing order.
    """
    anchors = architecture.num_anchors_per_cell

    def head(name: str, filters: int, kernel_size: int, activation: str | None = None) -> Convolution:
        return conv(
            name, filters, kernel_size, activation=activation, kernel_initializer=initializers.normal(name, stddev=0.01)
        )

    shared = head("rpn", architecture.width("rpn", FILTERS), 3, "relu")
    classes = head("rpn-class", anchors, 1)
    boxes = head("rpn-box", 4 * anchors, 1)
    logits, deltas = [], []
    for level, features in sorted(maps.items()):
        hidden = shared(features)
        logits.append(keras.layers.Reshape((-1,), name=f"rpn_logits_{level}", dtype="float32")(classes(hidden)))
        deltas.append(keras.layers.Reshape((-1, 4), name=f"rpn_deltas_{level}", dtype="float32")(boxes(hidden)))
    return (
        keras.layers.Concatenate(axis=1, name="rpn_logits", dtype="float32")(logits),
        keras.layers.Concatenate(axis=1, name="rpn_deltas", dtype="float32")(deltas),
        [shared, classes, boxes],
    )


def patches_at_cells(features: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Return the inputs of a 3x3 convolution with zero padding at some cells of a feature map.

    Args:
        features: [B, H, W, C], all dimensions static.
        cells: int64 [N], image * H * W + y * W + x.

    Returns:
        [N, 9 * C], in the order of a kernel [3, 3, C, F] reshaped to [9 * C, F].
    """
    batch, height, width, channels = (int(size) for size in features.shape)
    in_image = cells % (height * width)
    y = (in_image // width)[:, None] + tf.constant([-1, -1, -1, 0, 0, 0, 1, 1, 1], cells.dtype)
    x = (in_image % width)[:, None] + tf.constant([-1, 0, 1, -1, 0, 1, -1, 0, 1], cells.dtype)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = (cells - in_image)[:, None] + tf.clip_by_value(y, 0, height - 1) * width + tf.clip_by_value(x, 0, width - 1)
    flat = tf.reshape(features, [batch * height * width, channels])
    patches = tf.gather(flat, index) * tf.cast(inside, features.dtype)[:, :, None]
    return tf.reshape(patches, [-1, 9 * channels])


def rpn_head_at_cells(
    features: dict[int, tf.Tensor], cells: dict[int, tf.Tensor], layers: list[Convolution]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the head's outputs at some cells of each level, with matrix products on gathered patches.

    The losses of the RPN use a few hundred anchors. Computed on the whole maps, their gradient would need two more
    convolutions of every level, nearly all of them on zeros.

    Args:
        features: maps [B, H, W, C] by level, all dimensions static.
        cells: int64 [N_level] of the same levels, see `patches_at_cells`.
        layers: ``rpn``, ``rpn-class``, and ``rpn-box``, from `build_rpn_head`.

    Returns:
        Logits float32 [N, a] and deltas float32 [N, a, 4], with N cells of all levels (ascending) and a anchors in each
        cell.
    """
    patches = tf.concat([patches_at_cells(features[level], cells[level]) for level in sorted(features)], axis=0)

    def apply(layer: Convolution, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.reshape(tf.cast(tf.convert_to_tensor(layer.kernel), inputs.dtype), [-1, layer.filters])
        return tf.nn.bias_add(tf.matmul(inputs, kernel), tf.cast(tf.convert_to_tensor(layer.bias), inputs.dtype))

    shared, classes, boxes = layers
    hidden = tf.nn.relu(apply(shared, patches))
    logits = tf.cast(apply(classes, hidden), tf.float32)
    deltas = tf.cast(apply(boxes, hidden), tf.float32)
    return logits, tf.reshape(deltas, [-1, classes.filters, 4])
