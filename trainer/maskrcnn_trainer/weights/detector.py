"""Detector of torchvision, Detectron2, or MMDetection as variables of this network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights import names_detectron2, names_mmdetection, names_torchvision
from maskrcnn_trainer.weights.file import WeightFile
from maskrcnn_trainer.weights.layouts import in_network_layout
from maskrcnn_trainer.weights.project import Project
from maskrcnn_trainer.weights.refusals import refuse_other_models
from maskrcnn_trainer.weights.resnet_layers import depth_of, resnet_shapes, stage_filters

FPN_FILTERS = 256
POOLED_SIDE = 7
"""Side of the box head's input in cells."""

_SHOWN = 4
_IGNORED = re.compile(r".*\.num_batches_tracked")
_MASK_LAYERS = ("mask-conv-l", "conv5-mask", "mask_fcn_logits")

_VARIABLE_OF: Mapping[Project, Callable[[str], str | None]] = {
    Project.TORCHVISION: names_torchvision.variable_of,
    Project.DETECTRON2: names_detectron2.variable_of,
    Project.MMDETECTION: names_mmdetection.variable_of,
    Project.DETECTRON2_BACKBONE: names_detectron2.caffe2_variable_of,
}
_BACKGROUND_LAST = (Project.DETECTRON2, Project.MMDETECTION)


@dataclass(frozen=True)
class Detector:
    """Variables of a detector, and what its tensors show of the model.

    Attributes:
        path: of the file.
        project: whose names the file has.
        values: float32 arrays by the network's variable name, in its layout, background first; nothing is folded or
            changed for the style.
        nlayers: layers of the ResNet.
        num_classes: rows of the class layer, with the background as row 0; 0 for a backbone.
        head_dim: units of ``fc6`` and ``fc7``; 0 for a backbone.
        has_masks: False for a Faster R-CNN, whose mask head is missing.
        cell_anchors: x1 y1 x2 y2 around the center of a cell, float64 [3, 4], by level, if the file holds them.
        pixel_mean: mean of the input's channels in the file's own order and range, if the file holds it.
        pixel_deviation: standard deviation of the same, if the file holds it.
        ignored: tensors without a meaning for this network, with the reason.
    """

    path: str
    project: Project
    values: Mapping[str, NDArray[np.float32]]
    nlayers: int
    num_classes: int
    head_dim: int
    has_masks: bool
    cell_anchors: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    pixel_mean: tuple[float, ...] | None = None
    pixel_deviation: tuple[float, ...] | None = None
    ignored: Mapping[str, str] = field(default_factory=dict)


def convert_detector(file: WeightFile, project: Project) -> Detector:
    """Return the detector in a file of torchvision, Detectron2, or MMDetection.

    Args:
        file: its content.
        project: the result of `project.project_of`, one with ``is_detector``.

    Raises:
        InvalidInput: it is another model than Mask R-CNN or Faster R-CNN with ResNet and FPN; the message names it, or
            the tensors that are unknown, missing, twice in the file, or of another shape.
    """
    refuse_other_models(file, project)
    found = _variables(file, project)
    _refuse_resnext(file.path, found)
    nlayers = depth_of(file.path, found.tensors)
    classes = _rows(file.path, found, "class-predict")
    if classes < 2:
        raise InvalidInput(f"checkpoint: {file.path} has {classes} classes; at least the background and one more")
    head_dim = _rows(file.path, found, "fc6")
    has_masks = any(name.startswith(_MASK_LAYERS) for name in found.tensors)
    background_last = project in _BACKGROUND_LAST
    _refuse_class_agnostic(file.path, found, classes - background_last)
    shapes = resnet_shapes(nlayers) | head_shapes(
        nlayers, num_classes=classes, head_dim=head_dim, background_last=background_last, has_masks=has_masks
    )
    _check(file.path, found, shapes)
    return Detector(
        path=file.path,
        project=project,
        values={name: in_network_layout(name, found.tensors[name], background_last=background_last) for name in shapes},
        nlayers=nlayers,
        num_classes=classes,
        head_dim=head_dim,
        has_masks=has_masks,
        cell_anchors=found.cell_anchors,
        pixel_mean=found.pixel_mean,
        pixel_deviation=found.pixel_deviation,
        ignored=found.ignored,
    )


def convert_caffe2_backbone(file: WeightFile) -> Detector:
    """Return the backbone in Detectron2's ``R-50.pkl`` or ``R-101.pkl``.

    Batch norms may be a scale and an offset alone. As in Detectron2 these become gamma and beta, with mean 0 and
    variance 1, to which epsilon (1e-5) is still added (layers/batch_norm.py:80-86).

    Raises:
        InvalidInput: tensors are unknown, missing, or of another shape.
    """
    found = _variables(file, Project.DETECTRON2_BACKBONE)
    has_statistics = any(name.endswith(("/moving_mean", "/moving_variance")) for name in found.tensors)
    for name in [] if has_statistics else [name for name in found.tensors if name.endswith("/gamma")]:
        norm = name.partition("/")[0]
        found.tensors[f"{norm}/moving_mean"] = np.zeros_like(found.tensors[name], np.float32)
        found.tensors[f"{norm}/moving_variance"] = np.ones_like(found.tensors[name], np.float32)
    nlayers = depth_of(file.path, found.tensors)
    shapes = resnet_shapes(nlayers)
    _check(file.path, found, shapes)
    values = {name: in_network_layout(name, found.tensors[name], background_last=False) for name in shapes}
    return Detector(
        path=file.path,
        project=Project.DETECTRON2_BACKBONE,
        values=values,
        nlayers=nlayers,
        num_classes=0,
        head_dim=0,
        has_masks=False,
        ignored=found.ignored,
    )


def head_shapes(
    nlayers: int, *, num_classes: int, head_dim: int, background_last: bool, has_masks: bool
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of FPN, RPN, and heads in the network's layout but with the file's rows, by variable.

    Args:
        nlayers: layers of the ResNet.
        num_classes: rows of the class layer, with the background.
        head_dim: units of ``fc6`` and ``fc7``.
        background_last: boxes and masks have no rows of the background, see `layouts.in_network_layout`.
        has_masks: whether there is a mask head.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def add(layer: str, *kernel: int) -> None:
        shapes[f"{layer}/kernel"] = kernel
        shapes[f"{layer}/bias"] = kernel[-1:]

    for level, filters in stage_filters(nlayers).items():
        add(f"l{level}", 1, 1, filters, FPN_FILTERS)
        add(f"post_hoc_d{level}", 3, 3, FPN_FILTERS, FPN_FILTERS)
    add("rpn", 3, 3, FPN_FILTERS, FPN_FILTERS)
    add("rpn-class", 1, 1, FPN_FILTERS, 3)
    add("rpn-box", 1, 1, FPN_FILTERS, 12)
    add("fc6", FPN_FILTERS * POOLED_SIDE**2, head_dim)
    add("fc7", head_dim, head_dim)
    foreground = num_classes - background_last
    add("class-predict", head_dim, num_classes)
    add("box-predict", head_dim, 4 * foreground)
    if has_masks:
        for i in range(4):
            add(f"mask-conv-l{i}", 3, 3, FPN_FILTERS, FPN_FILTERS)
        add("conv5-mask", 2, 2, FPN_FILTERS, FPN_FILTERS)
        add("mask_fcn_logits", 1, 1, FPN_FILTERS, foreground)
    return shapes


@dataclass
class _Found:
    """Tensors of a file by the network's variable name, still in the project's layout, and the others."""

    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    cell_anchors: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    pixel_mean: tuple[float, ...] | None = None
    pixel_deviation: tuple[float, ...] | None = None


def _variables(file: WeightFile, project: Project) -> _Found:
    variable_of = _VARIABLE_OF[project]
    found = _Found()
    for name, tensor in file.tensors.items():
        variable = variable_of(name)
        if variable is not None:
            if variable in found.tensors:
                raise InvalidInput(
                    f"checkpoint: {file.path} holds {variable} twice, as {found.names[variable]} and as {name}: give a "
                    "file with one of them"
                )
            found.tensors[variable], found.names[variable] = tensor, name
        elif _IGNORED.fullmatch(name):
            found.ignored[name] = "a counter of updates"
        elif project is Project.DETECTRON2_BACKBONE and name in names_detectron2.C2_IGNORED:
            found.ignored[name] = "not of the backbone"
        elif project is Project.DETECTRON2 and (match := names_detectron2.CELL_ANCHORS.fullmatch(name)):
            found.cell_anchors[int(match[1]) + 2] = np.asarray(tensor, np.float64)
        elif project is Project.DETECTRON2 and name in names_detectron2.PIXEL_STATISTICS:
            values = tuple(float(value) for value in np.asarray(tensor, np.float64).ravel()[:3])
            if name == names_detectron2.PIXEL_STATISTICS[0]:
                found.pixel_mean = values
            else:
                found.pixel_deviation = values
        else:
            found.unknown.append(name)
    return found


def _rows(path: str, found: _Found, layer: str) -> int:
    """Return the number of outputs of a dense layer."""
    kernel = found.tensors.get(f"{layer}/kernel")
    if kernel is None or kernel.ndim != 2:
        name = found.names.get(f"{layer}/kernel")
        problem = f"no tensor for {layer}/kernel" if kernel is None else f"{name} of shape {kernel.shape}"
        raise InvalidInput(f"checkpoint: {path} has {problem}; a Mask R-CNN with FPN has a dense layer there")
    return int(kernel.shape[0])


def _refuse_class_agnostic(path: str, found: _Found, foreground: int) -> None:
    boxes = found.tensors.get("box-predict/kernel")
    masks = found.tensors.get("mask_fcn_logits/kernel")
    for tensor, variable, rows in ((boxes, "box-predict/kernel", 4), (masks, "mask_fcn_logits/kernel", 1)):
        if tensor is not None and tensor.ndim and tensor.shape[0] == rows and foreground > 1:
            what = "boxes" if rows == 4 else "masks"
            raise InvalidInput(
                f"checkpoint: {path} has class-agnostic {what} ({found.names[variable]} has {rows} "
                f"{'rows' if rows > 1 else 'row'} for {foreground} classes), which are not supported: give a model "
                f"that predicts {what} for each class"
            )


def _refuse_resnext(path: str, found: _Found) -> None:
    for block in ("block_1a", "block_4a"):
        first, second = (found.tensors.get(f"{block}_conv_{i}/kernel") for i in (1, 2))
        if first is None or second is None or min(first.ndim, second.ndim) != 4:
            continue
        if second.shape[1] < first.shape[0]:
            name = found.names[f"{block}_conv_2/kernel"]
            raise InvalidInput(
                f"checkpoint: {path} has a ResNeXt, such as X-101 (the convolution of {name} is grouped: "
                f"{second.shape[1]} inputs for {first.shape[0]} channels), which is not supported: give a model with a "
                "ResNet"
            )


def _check(path: str, found: _Found, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are unknown, missing, or of another shape than ``shapes``, in the network's layout."""
    unknown = [*found.unknown, *(found.names[name] for name in found.names if name not in shapes)]
    if unknown:
        raise InvalidInput(
            f"checkpoint: {path} has tensors that a ResNet with FPN, RPN, and box and mask heads does not have "
            f"({_listed(unknown)}): give a model without them"
        )
    missing = [name for name in shapes if name not in found.tensors]
    norms = [name for name in missing if name.endswith(("/moving_mean", "/moving_variance"))]
    if norms and len(norms) == len(missing):
        raise InvalidInput(
            f"checkpoint: {path} has normalization layers without statistics ({_listed(norms)}), such as group norm, "
            "which are not supported: give a model with batch norm"
        )
    if missing:
        raise InvalidInput(
            f"checkpoint: {path} lacks tensors of the model (those for {_listed(missing)}): the file is incomplete, or "
            "of another model"
        )
    for name, shape in shapes.items():
        theirs = _their_shape(shape)
        tensor, tensor_name = found.tensors[name], found.names.get(name, name)
        if tuple(tensor.shape) != theirs:
            raise InvalidInput(_other_shape(path, name, tensor_name, tuple(tensor.shape), theirs))
        if tensor.dtype.kind != "f":
            raise InvalidInput(
                f"checkpoint: {path}: {tensor_name} is of type {tensor.dtype}; weights are floating-point numbers"
            )
        if name.endswith("/moving_variance") and np.any(tensor < 0):
            raise InvalidInput(
                f"checkpoint: {path}: {tensor_name} has a variance of {float(np.min(tensor)):g}, which is below 0: the "
                "file is damaged"
            )


def _their_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the project's shape of a variable: all permutations of `layouts` reverse one that is (2, 3, 1, 0)."""
    if len(shape) == 4:
        height, width, inputs, outputs = shape
        return outputs, inputs, height, width
    return shape[::-1]


def _other_shape(path: str, variable: str, name: str, actual: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """Return the message about a tensor of another shape."""
    if variable.startswith("block_"):
        return (
            f"checkpoint: {path} has a ResNet of another width ({name} has the shape {actual}, not {expected}), which "
            "is not supported: give a model with a plain ResNet, 64 filters wide in its first stage"
        )
    return (
        f"checkpoint: {path} is another model than a Mask R-CNN with FPN of this network's sizes: {name} has the shape "
        f"{actual}, not {expected}"
    )


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
