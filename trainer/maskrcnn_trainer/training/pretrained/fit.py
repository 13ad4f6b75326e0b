"""Agreement of a file's backbone with the network's: depth, family, and no layer left over on either side."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbone import BLOCKS, BOTTLENECK_DEPTHS, STEM, sub_block_name

_LETTERS = 26
_BACKBONE = re.compile(rf"({STEM.conv}|{STEM.bn}|block_\d[a-z]_(conv|bn)_\w+)/\w+")
_SHOWN = 6


def is_of_a_backbone(name: str) -> bool:
    """Return whether a variable (``block_1a_conv_1/kernel``) is of a ResNet of any depth."""
    return _BACKBONE.fullmatch(name) is not None


def other_depth(values: Mapping[str, np.ndarray], architecture: Architecture) -> str | None:
    """Return what ResNet the variables are of, such as ``a ResNet-18``, where it is not this architecture's."""
    counts = tuple(
        sum(f"{sub_block_name(stage, i)}_conv_1/kernel" in values for i in range(_LETTERS)) for stage in range(1, 5)
    )
    bottleneck = "block_1a_conv_3/kernel" in values
    if counts == BLOCKS[architecture.nlayers] and bottleneck == (architecture.nlayers in BOTTLENECK_DEPTHS):
        return None
    fits = [n for n, blocks in BLOCKS.items() if blocks == counts and (n in BOTTLENECK_DEPTHS) == bottleneck]
    if fits:
        return f"a ResNet-{fits[0]}"
    listed = ", ".join(map(str, counts))
    return f"a ResNet with {listed} blocks in its stages, which no nlayers has,"


def refuse_half_a_backbone(
    path: str, values: Mapping[str, np.ndarray], architecture: Architecture, absent: Sequence[str], extra: Sequence[str]
) -> None:
    """Refuse a file of which the backbone would be loaded in part.

    Args:
        path: the file, for the message.
        values: all its variables.
        absent: variables of the network's backbone that the file does not have, where it has others.
        extra: variables of the file's backbone that the network does not have.

    Raises:
        InvalidInput: there is one; names the depth, and the layers.
    """
    if not absent and not extra:
        return
    found = [f"the file has no {_layers(absent)}"] if absent else []
    found += [f"the network has no {_layers(extra)}"] if extra else []
    depth = other_depth(values, architecture)
    if depth is not None:
        what = f"holds {depth} but maskrcnnConfig.nlayers is {architecture.nlayers}"
        advice = "give weights of that depth, change nlayers"
    else:
        what = f"does not fit maskrcnnConfig.arch {architecture.arch}"
        advice = "give weights of that architecture, change arch"
    raise InvalidInput(
        f"checkpoint: {path} {what} ({'; '.join(found)}): {advice}, or set skipCheckpointVariables to leave these "
        "layers out"
    )


def _layers(names: Collection[str]) -> str:
    layers = list(dict.fromkeys(name.partition("/")[0] for name in names))
    more = f", and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    return ", ".join(layers[:_SHOWN]) + more
