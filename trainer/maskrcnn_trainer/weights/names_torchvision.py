"""Names of the tensors in torchvision's detectors with ResNet and FPN.

Three spellings exist. Up to torchvision 0.12 a convolution of FPN, RPN, or mask head is a layer of its own
(``inner_blocks.0.weight``, ``rpn.head.conv.weight``, ``mask_fcn1.weight``); since 0.13 it is the first layer of a
sequence (``inner_blocks.0.0.weight``, ``rpn.head.conv.0.0.weight``, ``mask_head.0.0.weight``), and files may mix them.
"""

from __future__ import annotations

import re

from maskrcnn_trainer.weights.resnet_layers import RESNET

_BODY = "backbone.body."
_PARAMETER = {"weight": "kernel", "bias": "bias"}
_FPN = re.compile(r"backbone\.fpn\.(inner|layer)_blocks\.([0-3])(?:\.0)?\.(weight|bias)")
_FPN_LAYER = {"inner": "l", "layer": "post_hoc_d"}
_MASK = re.compile(r"roi_heads\.mask_head\.(?:mask_fcn([1-4])|([0-3])\.0)\.(weight|bias)")
_LAYERS = {
    "rpn.head.conv": "rpn",
    "rpn.head.conv.0.0": "rpn",
    "rpn.head.cls_logits": "rpn-class",
    "rpn.head.bbox_pred": "rpn-box",
    "roi_heads.box_head.fc6": "fc6",
    "roi_heads.box_head.fc7": "fc7",
    "roi_heads.box_predictor.cls_score": "class-predict",
    "roi_heads.box_predictor.bbox_pred": "box-predict",
    "roi_heads.mask_predictor.conv5_mask": "conv5-mask",
    "roi_heads.mask_predictor.mask_fcn_logits": "mask_fcn_logits",
}


def variable_of(tensor: str) -> str | None:
    """Return the network's variable (``l2/kernel``) of a tensor of torchvision's, None if no variable has its meaning.

    Args:
        tensor: its name in the file, such as ``backbone.fpn.inner_blocks.0.0.weight``.
    """
    if tensor.startswith(_BODY):
        return RESNET.torch_name(tensor.removeprefix(_BODY))
    if match := _FPN.fullmatch(tensor):
        return f"{_FPN_LAYER[match[1]]}{int(match[2]) + 2}/{_PARAMETER[match[3]]}"
    if match := _MASK.fullmatch(tensor):
        number = int(match[1]) - 1 if match[1] else int(match[2])
        return f"mask-conv-l{number}/{_PARAMETER[match[3]]}"
    layer, _, last = tensor.rpartition(".")
    if layer in _LAYERS and last in _PARAMETER:
        return f"{_LAYERS[layer]}/{_PARAMETER[last]}"
    return None
