"""Names and shapes of the tensors in the files of torchvision, Detectron2, and MMDetection, made from the structure.

`LISTINGS` has the digest of each original listing: the state_dict of maskrcnn_resnet50_fpn of torchvision 0.14.1 (and
the names that its ``load_state_dict`` still accepts), of mask_rcnn_R_50_FPN of Detectron2 at commit 02b5c4e2, and of
mask-rcnn_r50_fpn of MMDetection 3.3.0; for R-50.pkl the table of names in Detectron2's checkpoint/c2_model_loading.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.weights.file import Form, WeightFile

Shapes = dict[str, tuple[int, ...]]

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def _convolutions(depth: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield torchvision's name of each convolution of a ResNet and its shape O, I, H, W."""
    yield "conv1", (64, 3, 7, 7)
    channels = 64
    for stage, count in enumerate(BLOCKS[depth]):
        width = 64 * 2**stage
        widths = (width, width, 4 * width) if depth >= 50 else (width, width)
        kernels = (1, 3, 1) if depth >= 50 else (3, 3)
        for index in range(count):
            block = f"layer{stage + 1}.{index}"
            ins = (channels, *widths)
            for number, ((inputs, outputs), side) in enumerate(zip(pairwise(ins), kernels, strict=True), start=1):
                yield f"{block}.conv{number}", (outputs, inputs, side, side)
            if index == 0 and channels != widths[-1]:
                yield f"{block}.downsample", (widths[-1], channels, 1, 1)
            channels = widths[-1]


NORM = ("weight", "bias", "running_mean", "running_var")


def torch_resnet(depth: int, prefix: str = "", *, counters: bool = False) -> Shapes:
    """Return the tensors of a ResNet with torchvision's names."""
    shapes: Shapes = {}
    for name, shape in _convolutions(depth):
        conv, norm = (f"{name}.0", f"{name}.1") if name.endswith("downsample") else (name, name.replace("conv", "bn"))
        shapes[f"{prefix}{conv}.weight"] = shape
        shapes |= {f"{prefix}{norm}.{last}": shape[:1] for last in NORM}
        if counters:
            shapes[f"{prefix}{norm}.num_batches_tracked"] = ()
    return shapes


def detectron2_resnet(depth: int) -> Shapes:
    shapes: Shapes = {}
    for name, shape in _convolutions(depth):
        stage, _, rest = name.removeprefix("layer").partition(".")
        layer = "stem.conv1" if name == "conv1" else f"res{int(stage) + 1}.{rest.replace('downsample', 'shortcut')}"
        shapes[f"backbone.bottom_up.{layer}.weight"] = shape
        shapes |= {f"backbone.bottom_up.{layer}.norm.{last}": shape[:1] for last in NORM}
    return shapes


def caffe2_resnet(depth: int = 50, *, statistics: bool = False) -> Shapes:
    """Return the tensors of ``R-50.pkl``; ``statistics``: with whole batch norms, not a scale and an offset alone."""
    shapes: Shapes = {}
    lasts = ("gamma", "beta", "running_mean", "running_var") if statistics else ("s", "b")
    for name, shape in _convolutions(depth):
        if name == "conv1":
            conv, norm = "conv1", "res_conv1"
        else:
            stage, index, layer = name.removeprefix("layer").split(".")
            branch = "branch1" if layer == "downsample" else "branch2" + "abc"[int(layer[-1]) - 1]
            conv = norm = f"res{int(stage) + 1}_{index}_{branch}"
        shapes |= {f"{conv}_w": shape, **{f"{norm}_bn_{last}": shape[:1] for last in lasts}}
    return shapes | {"fc1000_w": (1000, 2048), "fc1000_b": (1000,), "conv1_b": (64,)}


def _heads(depth: int, names: Mapping[str, str], rows: tuple[int, int], *, masks: bool) -> Shapes:
    """Return weight and bias of each layer of FPN, RPN, and heads.

    Args:
        depth: of the ResNet.
        names: the project's names; ``{}`` counts from 0, ``{level}`` from 2, and ``{number}`` from 1.
        rows: of the class layer, and of boxes and masks.
        masks: whether there is a mask head.
    """
    classes, foreground = rows
    width = 2048 if depth >= 50 else 512
    kernels: dict[str, tuple[int, ...]] = {}
    for level in range(4):
        kernels[names["lateral"].format(level, level=level + 2)] = (256, width >> (3 - level), 1, 1)
        kernels[names["output"].format(level, level=level + 2)] = (256, 256, 3, 3)
    kernels[names["rpn"]] = (256, 256, 3, 3)
    kernels[names["objectness"]] = (3, 256, 1, 1)
    kernels[names["anchor_deltas"]] = (12, 256, 1, 1)
    kernels[names["fc6"]] = (1024, 256 * 7 * 7)
    kernels[names["fc7"]] = (1024, 1024)
    kernels[names["classes"]] = (classes, 1024)
    kernels[names["boxes"]] = (4 * foreground, 1024)
    if masks:
        for number in range(4):
            kernels[names["mask_conv"].format(number, number=number + 1)] = (256, 256, 3, 3)
        kernels[names["deconv"]] = (256, 256, 2, 2)
        kernels[names["masks"]] = (foreground, 256, 1, 1)
    shapes: Shapes = {}
    for name, kernel in kernels.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": (256,) if name == names["deconv"] else kernel[:1]}
    return shapes


_TORCHVISION = {
    "lateral": "backbone.fpn.inner_blocks.{}.0",
    "output": "backbone.fpn.layer_blocks.{}.0",
    "rpn": "rpn.head.conv.0.0",
    "objectness": "rpn.head.cls_logits",
    "anchor_deltas": "rpn.head.bbox_pred",
    "fc6": "roi_heads.box_head.fc6",
    "fc7": "roi_heads.box_head.fc7",
    "classes": "roi_heads.box_predictor.cls_score",
    "boxes": "roi_heads.box_predictor.bbox_pred",
    "mask_conv": "roi_heads.mask_head.{}.0",
    "deconv": "roi_heads.mask_predictor.conv5_mask",
    "masks": "roi_heads.mask_predictor.mask_fcn_logits",
}
_MASK_FCN = ("mask_fcn1", "mask_fcn2", "mask_fcn3", "mask_fcn4")


def torchvision(depth: int = 50, *, old: bool = False, classes: int = 91, masks: bool = True) -> Shapes:
    """Return the tensors of torchvision's detectors; ``old``: with the names of files from before 0.13."""
    shapes = torch_resnet(depth, "backbone.body.") | _heads(depth, _TORCHVISION, (classes, classes), masks=masks)
    return {old_torchvision_name(name): shape for name, shape in shapes.items()} if old else shapes


def old_torchvision_name(name: str) -> str:
    for number, old in enumerate(_MASK_FCN):
        name = name.replace(f"mask_head.{number}.0.", f"mask_head.{old}.")
        name = name.replace(f"_blocks.{number}.0.", f"_blocks.{number}.")
    return name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")


def detectron2(depth: int = 50, *, classes: int = 80, masks: bool = True, anchors: bool = False) -> Shapes:
    """Return the tensors of Detectron2's R_50_FPN; ``anchors``: also those that files of before 2021-05-17 hold."""
    names = {
        "lateral": "backbone.fpn_lateral{level}",
        "output": "backbone.fpn_output{level}",
        "rpn": "proposal_generator.rpn_head.conv",
        "objectness": "proposal_generator.rpn_head.objectness_logits",
        "anchor_deltas": "proposal_generator.rpn_head.anchor_deltas",
        "fc6": "roi_heads.box_head.fc1",
        "fc7": "roi_heads.box_head.fc2",
        "classes": "roi_heads.box_predictor.cls_score",
        "boxes": "roi_heads.box_predictor.bbox_pred",
        "mask_conv": "roi_heads.mask_head.mask_fcn{number}",
        "deconv": "roi_heads.mask_head.deconv",
        "masks": "roi_heads.mask_head.predictor",
    }
    heads = _heads(depth, names, (classes + 1, classes), masks=masks)
    if anchors:
        heads |= {f"proposal_generator.anchor_generator.cell_anchors.{level}": (3, 4) for level in range(5)}
    return detectron2_resnet(depth) | heads


def mmdetection(depth: int = 50, *, classes: int = 80, masks: bool = True) -> Shapes:
    """Return the tensors of MMDetection's mask-rcnn_r50_fpn, of 2.x and 3.x, in both styles."""
    names = {
        "lateral": "neck.lateral_convs.{}.conv",
        "output": "neck.fpn_convs.{}.conv",
        "rpn": "rpn_head.rpn_conv",
        "objectness": "rpn_head.rpn_cls",
        "anchor_deltas": "rpn_head.rpn_reg",
        "fc6": "roi_head.bbox_head.shared_fcs.0",
        "fc7": "roi_head.bbox_head.shared_fcs.1",
        "classes": "roi_head.bbox_head.fc_cls",
        "boxes": "roi_head.bbox_head.fc_reg",
        "mask_conv": "roi_head.mask_head.convs.{}.conv",
        "deconv": "roi_head.mask_head.upsample",
        "masks": "roi_head.mask_head.conv_logits",
    }
    heads = _heads(depth, names, (classes + 1, classes), masks=masks)
    return torch_resnet(depth, "backbone.", counters=True) | heads


LISTINGS: dict[str, tuple[Callable[[], Shapes], int, str]] = {
    "torchvision": (torchvision, 307, "30ee51aa45a1f0781150ded78c0db74e9f293dc9c3134ed76c1b213302afedc9"),
    "torchvision, old names": (
        partial(torchvision, old=True),
        307,
        "b4ec3a7274c986c04ecdd63adcb8a2057c68ad1ee541d6a496d412a179281ca3",
    ),
    "Detectron2": (detectron2, 307, "9250c4cfb52a0024f6d122ec376bcc0e932eaca60dacdafcb281bb2d3b297303"),
    "MMDetection": (mmdetection, 360, "4df530c75075a8cb314d00c55a5a6f555cdf5c84824f4ffef58b328290dda4c5"),
    "R-50.pkl": (caffe2_resnet, 162, "97fff3cfbd7c88a565906556d7ac289568c7a8542f7f9787095cd6f10e1ec582"),
}
"""Function, number of tensors, and digest of each original listing."""


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the SHA-256 of the sorted lines ``name 64x3x7x7``."""
    lines = sorted(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def weight_file(shapes: Mapping[str, tuple[int, ...]], **extra: Any) -> WeightFile:
    """Return a file of these tensors, float32 zeros that take no memory."""
    tensors: dict[str, NDArray[Any]] = {
        name: np.broadcast_to(np.zeros((), np.float32), shape) for name, shape in shapes.items()
    }
    return WeightFile("model.pth", Form.TORCH_ZIP, tensors, extra)
