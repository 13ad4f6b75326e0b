"""Check that a file's backbone matches that of the network: depth, family, and all layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbones.registry import BACKBONES

_SHOWN = 6


def is_of_a_backbone(name: str) -> bool:
    """Return whether a variable (``block_1a_conv_1/kernel``) belongs to a registered backbone, at any depth."""
    return any(backbone.owns(name) for backbone in BACKBONES.values())


def refuse_half_a_backbone(
    path: str,
    values: Mapping[str, NDArray[Any]],
    architecture: Architecture,
    absent: Sequence[str],
    extra: Sequence[str],
) -> None:
    """Refuse a file whose backbone would be loaded only in part.

    Args:
        path: of the file, for the message.
        values: all variables of the file.
        architecture: of the network.
        absent: variables of the network's backbone that the file does not have, although it has others.
        extra: variables of the file's backbone that the network does not have.

    Raises:
        InvalidInput: ``absent`` or ``extra`` is not empty; the message names the depth and the layers.
    """
    if not absent and not extra:
        return
    found = [f"the file has no {_layers(absent)}"] if absent else []
    found += [f"the network has no {_layers(extra)}"] if extra else []
    depth = architecture.backbone.found_instead(values, architecture.nlayers)
    if depth is not None:
        what = f"holds {depth}, but maskrcnnConfig.nlayers is {architecture.nlayers}"
        advice = "give weights of that depth, change nlayers"
    else:
        what = f"does not match maskrcnnConfig.arch {architecture.arch}"
        advice = "give weights of that architecture, change arch"
    raise InvalidInput(
        f"checkpoint: {path} {what} ({'; '.join(found)}): {advice}, or set skipCheckpointVariables to leave these "
        "layers out"
    )


def _layers(names: Collection[str]) -> str:
    layers = list(dict.fromkeys(name.partition("/")[0] for name in names))
    more = f", and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else ""
    return ", ".join(layers[:_SHOWN]) + more
