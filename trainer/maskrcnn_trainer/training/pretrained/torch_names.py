"""ResNet weights under torchvision's and timm's names, in ``.safetensors`` or ``.npz`` files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.backbone import EPSILON, STEM, sub_block_name, sub_blocks
from maskrcnn_trainer.training.pretrained.fit import other_depth
from maskrcnn_trainer.training.pretrained.source import Source

TORCH_EPSILON = 1e-5
# Deviations by which torchvision divides red, green and blue, and the one by which this network's input is divided.
TORCH_DEVIATIONS = (0.229, 0.224, 0.225)
DEVIATION = 0.224

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_LETTERS = 26
_DETECTRON = re.compile(r"(^|\.)(bottom_up\.|res[2-5]\.\d+\.conv)")
_DETECTOR = ("rpn.", "roi_heads.", "backbone.fpn.")
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)")


def read_torch_file(path: Path, architecture: Architecture) -> Source:
    """Read a ``.safetensors`` or ``.npz`` file of torchvision or timm names for this architecture.

    Raises:
        InvalidInput: the file is damaged, is of another depth, or is not a ResNet of this kind.
    """
    return convert_torch(_read(path), architecture, str(path))


def convert_torch(tensors: Mapping[str, np.ndarray], architecture: Architecture, path: str) -> Source:
    """Variables of the network from tensors under torchvision's names.

    Kernels are transposed from O, I, H, W to H, W, I, O. ``conv1`` is scaled by .224 / deviation of its input channel,
    since torchvision divides each channel by its own. Where the epsilon of this architecture's batch norms is another,
    the stored variance takes up the difference; where it is too small for that, gamma does. A projection shortcut that
    this architecture has and torchvision has not becomes the identity.

    Raises:
        InvalidInput: another depth, or no such ResNet.
    """
    if any(_DETECTRON.search(name) for name in tensors):
        raise InvalidInput(
            f"checkpoint: {path} has the tensor names of Detectron2, which are not read: give a ResNet under "
            "torchvision's or timm's names"
        )
    prefix = _prefix(tensors, path)
    values: dict[str, np.ndarray] = {}
    unused: dict[str, str] = {}
    for name, tensor in tensors.items():
        ours = our_name(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if ours is not None:
            values[ours] = _layout(ours, tensor)
        elif not name.endswith("num_batches_tracked"):
            unused[name] = "not of a ResNet backbone"
    _check_depth(values, architecture, path)

    kernel = values.get(f"{STEM.conv}/kernel")
    if kernel is not None and kernel.ndim == 4 and kernel.shape[2] == 3:
        factors = DEVIATION / np.asarray(TORCH_DEVIATIONS)
        values[f"{STEM.conv}/kernel"] = (kernel * factors[:, None]).astype(np.float32)
    epsilon = EPSILON[architecture.arch]
    for name in [n for n in values if n.endswith("/moving_variance")]:
        _change_epsilon(values, name.rpartition("/")[0], TORCH_EPSILON, epsilon)
    notes = [
        f"{name} is the identity: torchvision has no projection there" for name in _identities(values, architecture)
    ]
    if any(name.startswith(_DETECTOR) for name in unused):
        notes.append("the file is a torchvision detector, of which the ResNet backbone alone is loaded")
    if architecture.arch == "resnet":
        notes.append(
            "maskrcnnConfig.arch: weights with torchvision names fit resnet_v1_5; resnet has other strides and "
            "padding, so the features differ from those that the weights were trained for"
        )
    return Source("ResNet under torchvision names", values, tuple(notes), unused)


def our_name(name: str) -> str | None:
    """``block_1a_conv_1/kernel`` of ``layer1.0.conv1.weight``; None for what is no variable of a ResNet backbone."""
    if name == "conv1.weight":
        return f"{STEM.conv}/kernel"
    if name.startswith("bn1.") and name[4:] in _NORM:
        return f"{STEM.bn}/{_NORM[name[4:]]}"
    match = _BLOCK.fullmatch(name)
    if match is None or int(match[2]) >= _LETTERS:
        return None
    stage, index, kind, number, last = match.groups()
    block = sub_block_name(int(stage), int(index))
    if kind == "downsample.":
        is_norm, suffix = number == "1", "shortcut"
    else:
        is_norm, suffix = kind == "bn", number
    if is_norm:
        return f"{block}_bn_{suffix}/{_NORM[last]}" if last in _NORM else None
    return f"{block}_conv_{suffix}/kernel" if last == "weight" else None


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.read_bytes()[:2] == b"PK":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        from safetensors.numpy import load_file

        return dict(load_file(path))
    except Exception as error:  # the readers' own kinds of error are many; none says more than its text
        raise InvalidInput(f"checkpoint: {path} cannot be read: {error}") from error


def _prefix(tensors: Mapping[str, np.ndarray], path: str) -> str:
    """What stands before ``conv1.weight``: nothing, or ``module.``, ``backbone.`` and the like."""
    found = sorted((n for n in tensors if n == "conv1.weight" or n.endswith(".conv1.weight")), key=len)
    stems = [n.removesuffix("conv1.weight") for n in found if not re.search(r"layer\d+\.\d+\.conv1\.weight$", n)]
    if not stems:
        raise InvalidInput(
            f"checkpoint: {path} has no tensor conv1.weight: it is not a ResNet under torchvision's or timm's "
            "names (a variant with another stem, such as timm's resnet50d, does not fit either)"
        )
    return stems[0]


def _layout(name: str, tensor: np.ndarray) -> np.ndarray:
    array = np.asarray(tensor, np.float32)
    return np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if name.endswith("/kernel") and array.ndim == 4 else array


def _check_depth(values: Mapping[str, np.ndarray], architecture: Architecture, path: str) -> None:
    depth = other_depth(values, architecture)
    if depth is not None:
        raise InvalidInput(
            f"checkpoint: {path} holds {depth} but maskrcnnConfig.nlayers is {architecture.nlayers}: "
            "give weights of that depth, or change nlayers"
        )


def _change_epsilon(values: dict[str, np.ndarray], norm: str, old: float, new: float) -> None:
    """Let gamma / sqrt(variance + epsilon) be the same under another epsilon."""
    if old == new:
        return
    variance = np.asarray(values[f"{norm}/moving_variance"], np.float64)
    wanted = variance + old - new
    # A variance is never negative: at zero gamma takes what is left.
    factor = np.where(wanted < 0, np.sqrt(new / (variance + old)), 1.0)
    values[f"{norm}/moving_variance"] = np.maximum(wanted, 0.0).astype(np.float32)
    if f"{norm}/gamma" in values:
        values[f"{norm}/gamma"] = (values[f"{norm}/gamma"] * factor).astype(np.float32)


def _identities(values: dict[str, np.ndarray], architecture: Architecture) -> list[str]:
    """Make identities of the projections that the file has not and need not have; returns their names."""
    made = []
    for block, theirs in zip(
        sub_blocks(architecture.nlayers, architecture.arch),
        sub_blocks(architecture.nlayers, "resnet_v1_5"),
        strict=True,
    ):
        spec = block.shortcut
        if spec is None or theirs.shortcut is not None or f"{spec.conv}/kernel" in values:
            continue
        filters = spec.filters
        values[f"{spec.conv}/kernel"] = np.eye(filters, dtype=np.float32)[None, None]
        values[f"{spec.bn}/gamma"] = np.ones(filters, np.float32)
        values[f"{spec.bn}/beta"] = np.zeros(filters, np.float32)
        values[f"{spec.bn}/moving_mean"] = np.zeros(filters, np.float32)
        values[f"{spec.bn}/moving_variance"] = np.full(filters, 1.0 - EPSILON[architecture.arch], np.float32)
        made.append(spec.conv)
    return made
