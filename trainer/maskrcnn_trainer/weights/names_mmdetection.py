"""Names of the tensors in Mask R-CNN and Faster R-CNN of MMDetection 2.x and 3.x with ResNet and FPN."""

from __future__ import annotations

import re

from maskrcnn_trainer.weights.resnet_layers import RESNET

_BACKBONE = "backbone."
_PARAMETER = {"weight": "kernel", "bias": "bias"}
_NUMBERED = re.compile(
    r"(neck\.lateral_convs|neck\.fpn_convs|roi_head\.mask_head\.convs)\.([0-3])\.conv\.(weight|bias)"
)
_NUMBERED_LAYER = {
    "neck.lateral_convs": ("l", 2),
    "neck.fpn_convs": ("post_hoc_d", 2),
    "roi_head.mask_head.convs": ("mask-conv-l", 0),
}
_LAYERS = {
    "rpn_head.rpn_conv": "rpn",
    "rpn_head.rpn_cls": "rpn-class",
    "rpn_head.rpn_reg": "rpn-box",
    "roi_head.bbox_head.shared_fcs.0": "fc6",
    "roi_head.bbox_head.shared_fcs.1": "fc7",
    "roi_head.bbox_head.fc_cls": "class-predict",
    "roi_head.bbox_head.fc_reg": "box-predict",
    "roi_head.mask_head.upsample": "conv5-mask",
    "roi_head.mask_head.conv_logits": "mask_fcn_logits",
}


def variable_of(tensor: str) -> str | None:
    """Return the network's variable (``l2/kernel``) of a tensor of MMDetection's, None if none has its meaning.

    Args:
        tensor: its name in the file, such as ``neck.lateral_convs.0.conv.weight``. Those of the backbone are
            torchvision's.
    """
    if tensor.startswith(_BACKBONE):
        return RESNET.torch_name(tensor.removeprefix(_BACKBONE))
    if match := _NUMBERED.fullmatch(tensor):
        layer, first = _NUMBERED_LAYER[match[1]]
        return f"{layer}{int(match[2]) + first}/{_PARAMETER[match[3]]}"
    layer, _, last = tensor.rpartition(".")
    if layer in _LAYERS and last in _PARAMETER:
        return f"{_LAYERS[layer]}/{_PARAMETER[last]}"
    return None
