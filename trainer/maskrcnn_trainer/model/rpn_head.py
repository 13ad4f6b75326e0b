"""Region proposal head (Ren et al. 2015, arXiv:1506.01497), shared by all levels."""

from __future__ import annotations

from collections.abc import Callable

import keras

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Convolution, StartingValues
from maskrcnn_trainer.model.fpn import FILTERS


def build_rpn_head(
    maps: dict[int, keras.KerasTensor],
    architecture: Architecture,
    *,
    conv: Callable[..., Convolution],
    start: StartingValues,
) -> tuple[keras.KerasTensor, keras.KerasTensor, list[keras.layers.Layer]]:
    """Build ``rpn`` (3x3, ReLU), ``rpn-class`` and ``rpn-box`` (1x1) on every level; kernels start at N(0, 0.01).

    Returns:
        Logits [B, A] and deltas (dy, dx, dh, dw) [B, A, 4], float32, of all anchors of all levels in anchor order
        (levels ascending, cells row-major, then the anchors of a cell), and the layers in listing order.
    """
    anchors = architecture.num_anchors_per_cell

    def head(name: str, filters: int, kernel_size: int, activation: str | None = None) -> Convolution:
        return conv(
            name, filters, kernel_size, activation=activation, kernel_initializer=start.normal(name, stddev=0.01)
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
