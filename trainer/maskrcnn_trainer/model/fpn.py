"""Feature pyramid network (Lin et al. 2016, arXiv:1612.03144) with the layer names of TAO Toolkit's template."""

from __future__ import annotations

from collections.abc import Callable

import keras

from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.convolution import Convolution

FILTERS = 256


def build_fpn(
    stages: dict[int, keras.KerasTensor],
    architecture: Architecture,
    *,
    conv: Callable[..., Convolution],
    dtype: keras.DTypePolicy,
) -> tuple[dict[int, keras.KerasTensor], list[keras.layers.Layer]]:
    """Build the pyramid on the stages of the backbone.

    It has lateral convolutions ``l2..l5`` (1x1), a top-down path (nearest-neighbor upsampling by 2, then addition), and
    ``post_hoc_d2..d5`` (3x3). A level above the last stage is every second pixel of the level below. There is no batch
    norm and no activation.

    Args:
        stages: outputs of the backbone by level.
        architecture: of the network.
        conv: creates a convolution from (name, filters, kernel_size).
        dtype: of the layers.

    Returns:
        Feature maps [B, H / 2^level, W / 2^level, C] by level, and the layers with variables in listing order.
    """
    laterals = {}
    post_hocs = {}
    for level in stages:
        laterals[level] = conv(f"l{level}", architecture.width(f"l{level}", FILTERS), 1)
        name = f"post_hoc_d{level}"
        post_hocs[level] = conv(name, architecture.width(name, FILTERS), 3)
    top = max(stages)
    merged = {top: laterals[top](stages[top])}
    for level in range(top - 1, architecture.min_level - 1, -1):
        larger = keras.layers.UpSampling2D(2, interpolation="nearest", name=f"FPN_up_{level + 1}", dtype=dtype)(
            merged[level + 1]
        )
        merged[level] = keras.layers.Add(name=f"FPN_add_{level}", dtype=dtype)([laterals[level](stages[level]), larger])
    maps = {level: post_hocs[level](merged[level]) for level in sorted(merged)}
    for level in range(top + 1, architecture.max_level + 1):
        halved = keras.layers.MaxPooling2D(1, 2, padding="valid", name=f"p{level}", dtype=dtype)
        maps[level] = halved(maps[level - 1])
    return maps, [*laterals.values(), *post_hocs.values()]
