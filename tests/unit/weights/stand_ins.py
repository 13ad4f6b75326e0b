"""Small detectors under the names of torchvision, Detectron2, and MMDetection, with random weights of usual sizes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tests.unit.weights import files, key_lists
from tests.unit.weights.key_lists import Shapes

from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.style import STYLES, StyleName

Tensors = dict[str, NDArray[Any]]

_DRAWN = 65521

HEAD_DIM = 8
FORMS = ("pth", "old.pth", "pkl", "safetensors", "npz")
"""Suffixes of `write`: PyTorch's zip form and the one before, a pickle of arrays, and two plain forms."""


def with_small_heads(shapes: Shapes) -> Shapes:
    """Return shapes with `HEAD_DIM` units in place of the box head's 1,024."""
    return {
        name: tuple(HEAD_DIM if side == 1024 else side for side in shape) if name.startswith("roi_head") else shape
        for name, shape in shapes.items()
    }


def tensors_of(shapes: Shapes, *, pixels: bool = False, seed: int = 0) -> Tensors:
    """Return random tensors with which features keep their size.

    Args:
        shapes: by name.
        pixels: the first convolution is for input of 0..255 less a mean, not for one divided by its deviation.
        seed: of the values.
    """
    # ten million drawn values would take longer than all that a test does with them
    drawn = np.random.default_rng(seed).standard_normal(_DRAWN, np.float32)
    tensors: Tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        value = np.resize(np.roll(drawn, 7 * number), shape)
        if name.endswith("num_batches_tracked"):
            tensors[name] = np.array(3)
        elif name.endswith("running_var"):
            tensors[name] = 1 + np.abs(value) / 4
        elif len(shape) == 1:
            is_gamma = name.endswith((".weight", "_bn_s"))
            tensors[name] = (1 + value / 10 if is_gamma else value / 10).astype(np.float32)
        else:
            tensors[name] = value / np.float32(np.sqrt(np.prod(shape[1:])))
    stem = next(name for name, shape in shapes.items() if shape == (64, 3, 7, 7))
    tensors[stem] *= np.float32(0.25 / 57.12 if pixels else 0.25)
    return tensors


def detector(
    style: StyleName | str, *, classes: int = 3, depth: int = 10, seed: int = 0, masks: bool = True
) -> Tensors:
    """Return a detector of a style; ``classes`` are without the background."""
    chosen = STYLES[StyleName(style)]
    shapes = {
        Project.TORCHVISION: lambda: key_lists.torchvision(depth, classes=classes + 1, masks=masks),
        Project.DETECTRON2: lambda: key_lists.detectron2(depth, classes=classes, masks=masks),
        Project.MMDETECTION: lambda: key_lists.mmdetection(depth, classes=classes, masks=masks),
    }[chosen.project]()
    return tensors_of(with_small_heads(shapes), pixels=chosen.input.deviation == (1.0, 1.0, 1.0), seed=seed)


def write(path: Path, tensors: Mapping[str, NDArray[Any]], *, within: str = "", **extra: Any) -> Path:
    """Write a file in the form of its suffix, one of `FORMS`.

    Args:
        path: to be written.
        tensors: by name.
        within: key of the outermost dictionary that holds the tensors; empty: there is none.
        extra: other entries of the outermost dictionary.
    """
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    elif path.suffix == ".npz":
        np.savez(path, **tensors)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({within: dict(tensors), **extra} if within else dict(tensors), protocol=4))
    else:
        made = files.state_dict({name: files.tensor(np.asarray(value)) for name, value in tensors.items()})
        value = {within: made, **extra} if within else made
        (files.write_torch_legacy if path.name.endswith(".old.pth") else files.write_torch_zip)(path, value)
    return path
