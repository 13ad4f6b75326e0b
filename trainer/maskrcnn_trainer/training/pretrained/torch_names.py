"""Backbones with the tensor names of torchvision or timm, in any form of `maskrcnn_trainer.weights.file`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.training.pretrained.source import Source

TORCH_EPSILON = 1e-5
# Standard deviations by which torchvision divides red, green, and blue, and the one of this network's input.
TORCH_DEVIATIONS = (0.229, 0.224, 0.225)
DEVIATION = 0.224

_DETECTRON = re.compile(r"(^|\.)(bottom_up\.|res[2-5]\.\d+\.conv)")


def convert_torch(tensors: Mapping[str, NDArray[Any]], architecture: Architecture, path: str) -> Source:
    """Convert tensors with torchvision's names to variables of the network.

    Kernels are transposed from O, I, H, W to H, W, I, O. The stem is scaled by .224 / deviation of its input channel,
    since torchvision divides each channel by its own deviation. If the batch norms of this architecture have another
    epsilon, the stored variance is changed by the difference, or gamma if the variance is too small for that. Layers of
    the backbone that torchvision does not have get values with which they are identities.

    Args:
        tensors: by torchvision's name.
        architecture: of the network.
        path: of the file, for messages.

    Raises:
        InvalidInput: the tensors have another depth, or do not belong to this family of backbones.
    """
    backbone = architecture.backbone
    if any(_DETECTRON.search(name) for name in tensors):
        raise InvalidInput(
            f"checkpoint: {path} has the tensor names of Detectron2, which are not supported: give a {backbone.title} "
            "with the names of torchvision or timm"
        )
    prefix = backbone.torch_prefix(tensors)
    if prefix is None:
        raise InvalidInput(
            f"checkpoint: {path} has no tensor {backbone.torch_stem}: it is not a {backbone.title} with the names of "
            f"torchvision or timm ({backbone.torch_misfit} are not supported)"
        )
    values: dict[str, NDArray[Any]] = {}
    unused: dict[str, str] = {}
    for name, tensor in tensors.items():
        ours = backbone.torch_name(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if ours is not None:
            values[ours] = _layout(ours, tensor)
        elif not name.endswith("num_batches_tracked"):
            unused[name] = f"not of a {backbone.title} backbone"
    _check_depth(values, architecture, path)

    stem = f"{backbone.stem}/kernel"
    kernel = values.get(stem)
    if kernel is not None and kernel.ndim == 4 and kernel.shape[2] == 3:
        factors = DEVIATION / np.asarray(TORCH_DEVIATIONS)
        values[stem] = (kernel * factors[:, None]).astype(np.float32)
    for name in [n for n in values if n.endswith("/moving_variance")]:
        _change_epsilon(values, name.rpartition("/")[0], TORCH_EPSILON, architecture.epsilon)
    rest = backbone.torch_rest(values, architecture.nlayers, architecture.epsilon)
    return Source(
        f"{backbone.title} with torchvision names", {**values, **rest}, tuple(backbone.torch_notes(rest)), unused
    )


def _layout(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(tensor, np.float32)
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if name.endswith("/kernel") and array.ndim == 4 else array


def _check_depth(values: Mapping[str, NDArray[Any]], architecture: Architecture, path: str) -> None:
    depth = architecture.backbone.found_instead(values, architecture.nlayers)
    if depth is not None:
        raise InvalidInput(
            f"checkpoint: {path} holds {depth}, but maskrcnnConfig.nlayers is {architecture.nlayers}: "
            "give weights of that depth, or change nlayers"
        )


def _change_epsilon(values: dict[str, NDArray[Any]], norm: str, old: float, new: float) -> None:
    """Change a batch norm so that gamma / sqrt(variance + epsilon) stays the same with another epsilon.

    Where variance and old epsilon are both 0, gamma becomes 0, so that the output is beta as before (see `BatchNorm`).
    """
    if old == new:
        return
    variance = np.asarray(values[f"{norm}/moving_variance"], np.float64)
    changed = variance + old - new
    # A variance cannot be negative: it becomes zero, and gamma is scaled for the rest.
    before = variance + old
    factor = np.where(changed < 0, np.sqrt(new / np.where(before > 0, before, 1.0)), 1.0)
    factor = np.where(before > 0, factor, 0.0)
    values[f"{norm}/moving_variance"] = np.maximum(changed, 0.0).astype(np.float32)
    if f"{norm}/gamma" in values:
        values[f"{norm}/gamma"] = (values[f"{norm}/gamma"] * factor).astype(np.float32)
