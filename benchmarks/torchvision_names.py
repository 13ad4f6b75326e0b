"""Writing of a model file's detector as torchvision saves one: its tensor names, its layout, and its input.

It is the reverse of `maskrcnn_trainer.weights`, whose table of names it inverts. The network itself must be one that
torchvision has, which this module doesn't check: see `maskrcnn_trainer.weights.opening.architecture_of_style`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from maskrcnn_trainer.weights.input_statistics import NETWORK_DEVIATION
from maskrcnn_trainer.weights.names_torchvision import variable_of
from maskrcnn_trainer.weights.style import STYLES, StyleName

_LASTS = ("weight", "bias", "running_mean", "running_var")
_BOX_LAYERS = ("rpn-box", "box-predict")
_XYWH = (1, 0, 3, 2)
"""Position in dy dx dh dw of dx, dy, dw, and dh."""


def write_detector(path: Path, variables: Mapping[str, NDArray[Any]]) -> None:
    """Write the variables of a model file as ``.safetensors`` of torchvision, see `tensors_of`.

    Raises:
        ValueError: torchvision has no tensor of this meaning.
    """
    save_file(tensors_of(variables), path)


def tensors_of(variables: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a detector by torchvision's names since 0.13, for its input of RGB / 255.

    Args:
        variables: of the network, by name, in its layout.

    Raises:
        ValueError: torchvision has no tensor of this meaning.
    """
    names = {variable: name for name in _names() if (variable := variable_of(name)) is not None}
    unknown = sorted(set(variables) - set(names))
    if unknown:
        raise ValueError(f"torchvision has no tensor for {', '.join(unknown)}")
    return {names[variable]: _in_their_layout(variable, value) for variable, value in variables.items()}


def _names() -> Iterator[str]:
    """Yield all names that a tensor of torchvision's may have, and others that `variable_of` doesn't know."""
    layers = ["backbone.body.conv1", "backbone.body.bn1"]
    for stage in range(1, 5):
        for index in range(len(ascii_lowercase)):
            block = f"backbone.body.layer{stage}.{index}"
            layers += [f"{block}.{kind}{number}" for kind in ("conv", "bn") for number in (1, 2, 3)]
            layers += [f"{block}.downsample.{number}" for number in (0, 1)]
    for number in range(4):
        layers += [f"backbone.fpn.{kind}_blocks.{number}.0" for kind in ("inner", "layer")]
        layers += [f"roi_heads.mask_head.{number}.0"]
    layers += ["rpn.head.conv.0.0", "rpn.head.cls_logits", "rpn.head.bbox_pred"]
    layers += [f"roi_heads.box_head.fc{number}" for number in (6, 7)]
    layers += [f"roi_heads.box_predictor.{layer}" for layer in ("cls_score", "bbox_pred")]
    layers += [f"roi_heads.mask_predictor.{layer}" for layer in ("conv5_mask", "mask_fcn_logits")]
    for layer in layers:
        for last in _LASTS:
            yield f"{layer}.{last}"


def _in_their_layout(variable: str, value: NDArray[Any]) -> NDArray[np.float32]:
    """Return the reverse of `maskrcnn_trainer.weights.layouts.in_network_layout`, with the stem for RGB / 255."""
    array = np.asarray(value, np.float64)
    if variable == "conv1/kernel":
        deviations = np.asarray(STYLES[StyleName.TORCHVISION].input.deviation)
        array = array * (deviations / NETWORK_DEVIATION)[:, None]
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.transpose()
    if variable.partition("/")[0] in _BOX_LAYERS:
        array = array.reshape(-1, 4, *array.shape[1:])[:, _XYWH].reshape(array.shape)
    return np.ascontiguousarray(array, np.float32)
