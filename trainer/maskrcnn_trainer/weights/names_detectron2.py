"""Names of the tensors in Detectron2's Mask R-CNN and Faster R-CNN with ResNet and FPN, and in its ``R-50.pkl``."""

from __future__ import annotations

import re

from maskrcnn_trainer.weights.resnet_layers import RESNET

_PARAMETER = {"weight": "kernel", "bias": "bias"}
_FPN = re.compile(r"backbone\.fpn_(lateral|output)([2-5])\.(weight|bias)")
_FPN_LAYER = {"lateral": "l", "output": "post_hoc_d"}
_MASK = re.compile(r"roi_heads\.mask_head\.mask_fcn([1-4])\.(weight|bias)")
_LAYERS = {
    "proposal_generator.rpn_head.conv": "rpn",
    "proposal_generator.rpn_head.objectness_logits": "rpn-class",
    "proposal_generator.rpn_head.anchor_deltas": "rpn-box",
    "roi_heads.box_head.fc1": "fc6",
    "roi_heads.box_head.fc2": "fc7",
    "roi_heads.box_predictor.cls_score": "class-predict",
    "roi_heads.box_predictor.bbox_pred": "box-predict",
    "roi_heads.mask_head.deconv": "conv5-mask",
    "roi_heads.mask_head.predictor": "mask_fcn_logits",
}
_STEM = "backbone.bottom_up.stem."
_BLOCK = re.compile(r"backbone\.bottom_up\.res([2-5])\.(\d+)\.(conv[1-3]|shortcut)\.(norm\.)?(\w+)")

CELL_ANCHORS = re.compile(r"proposal_generator\.anchor_generator\.cell_anchors\.([0-4])")
"""Anchors of a level, which files of before 2021-05-17 hold: float32 [3, 4], x1 y1 x2 y2 around a cell's center."""

PIXEL_STATISTICS = ("pixel_mean", "pixel_std")
"""Mean and standard deviation of the input's channels, which some releases have stored with the model: [3, 1, 1]."""

# Scale and offset as Detectron1 has them, or a batch norm with statistics, as in Detectron2's own R-50.pkl: its log at
# loading names them (facebookresearch/detectron2, issues 1688 and 1698).
_C2_NORM = {
    "bn_s": "weight",
    "bn_b": "bias",
    "bn_gamma": "weight",
    "bn_beta": "bias",
    "bn_running_mean": "running_mean",
    "bn_running_var": "running_var",
}
_C2_BLOCK = re.compile(rf"res([2-5])_(\d+)_branch(1|2[abc])_(w|{'|'.join(_C2_NORM)})")
_C2_STEM = {"conv1_w": "conv1.weight"} | {f"res_conv1_{last}": f"bn1.{ours}" for last, ours in _C2_NORM.items()}
C2_IGNORED = ("conv1_b", "fc1000_w", "fc1000_b", "pred_w", "pred_b")
"""Tensors of ``R-50.pkl`` that Detectron2's detectors don't read either: the classifier, and a bias of the stem."""


def variable_of(tensor: str) -> str | None:
    """Return the network's variable (``l2/kernel``) of a tensor of Detectron2's, None if none has its meaning.

    Args:
        tensor: its name in the file, such as ``backbone.fpn_lateral2.weight``.
    """
    if tensor.startswith(_STEM):
        return RESNET.torch_name(tensor.removeprefix(_STEM).replace("conv1.norm.", "bn1."))
    if match := _BLOCK.fullmatch(tensor):
        stage, index, layer, norm, last = match.groups()
        return RESNET.torch_name(f"layer{int(stage) - 1}.{index}.{_in_torchvision(layer, bool(norm))}.{last}")
    if match := _FPN.fullmatch(tensor):
        return f"{_FPN_LAYER[match[1]]}{match[2]}/{_PARAMETER[match[3]]}"
    if match := _MASK.fullmatch(tensor):
        return f"mask-conv-l{int(match[1]) - 1}/{_PARAMETER[match[2]]}"
    layer, _, last = tensor.rpartition(".")
    if layer in _LAYERS and last in _PARAMETER:
        return f"{_LAYERS[layer]}/{_PARAMETER[last]}"
    return None


def caffe2_variable_of(tensor: str) -> str | None:
    """Return the network's variable of a tensor of ``R-50.pkl`` (``res2_0_branch2a_w``), None if none has its meaning.

    Names follow Detectron2's own table (checkpoint/c2_model_loading.py).
    """
    if tensor in _C2_STEM:
        return RESNET.torch_name(_C2_STEM[tensor])
    match = _C2_BLOCK.fullmatch(tensor)
    if match is None:
        return None
    stage, index, branch, last = match.groups()
    layer = "shortcut" if branch == "1" else f"conv{'abc'.index(branch[1]) + 1}"
    parameter = _C2_NORM.get(last, "weight")
    return RESNET.torch_name(f"layer{int(stage) - 1}.{index}.{_in_torchvision(layer, last in _C2_NORM)}.{parameter}")


def _in_torchvision(layer: str, is_norm: bool) -> str:
    """Return torchvision's name of a block's layer, ``conv1`` to ``conv3`` or ``shortcut``, or of its batch norm."""
    if layer == "shortcut":
        return f"downsample.{int(is_norm)}"
    return layer.replace("conv", "bn") if is_norm else layer
