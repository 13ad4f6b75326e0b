"""Detectors that this network cannot represent are refused, and the message names the kind of the model."""

from __future__ import annotations

import pytest
from tests.unit.weights import key_lists
from tests.unit.weights.key_lists import Shapes, weight_file

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.detector import convert_detector
from maskrcnn_trainer.weights.project import Project, project_of
from maskrcnn_trainer.weights.refusals import refuse_other_models

TV, D2, MM = key_lists.torchvision(), key_lists.detectron2(), key_lists.mmdetection()


def renamed(shapes: Shapes, old: str, new: str) -> Shapes:
    return {name.replace(old, new): shape for name, shape in shapes.items()}


def without(shapes: Shapes, *beginnings: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.startswith(beginnings)}


MASKRCNN_V2 = without(TV, "roi_heads.box_head.") | {
    "rpn.head.conv.1.0.weight": (256, 256, 3, 3),
    "backbone.fpn.inner_blocks.0.1.weight": (256,),
    "roi_heads.box_head.0.0.weight": (256, 256, 3, 3),
    "roi_heads.box_head.5.weight": (1024, 12544),
    "roi_heads.mask_head.0.1.running_mean": (256,),
}
D2_C4 = renamed(without(D2, "backbone.fpn_", "roi_heads.box_head."), "backbone.bottom_up.", "backbone.") | {
    "roi_heads.res5.0.conv1.weight": (512, 1024, 1, 1)
}
D2_DC5 = renamed(without(D2, "backbone.fpn_"), "backbone.bottom_up.", "backbone.")
MM_1 = renamed(MM, "roi_head.", "")
MM_RETINANET = without(MM, "roi_head.", "rpn_head.") | {"bbox_head.retina_cls.weight": (720, 256, 3, 3)}

MODELS: list[tuple[str, Shapes, str]] = [
    ("torchvision _v2", MASKRCNN_V2, r"is a _v2 model of torchvision"),
    (
        "torchvision _v2 by its RPN alone",
        TV | {"rpn.head.conv.1.0.weight": (256, 256, 3, 3)},
        r"is a _v2 model .*rpn\.head\.conv\.1\.0\.weight",
    ),
    (
        "torchvision keypoints",
        TV | {"roi_heads.keypoint_head.0.weight": (512, 256, 3, 3)},
        r"is a model with a keypoint head \(it has the tensor roi_heads\.keypoint_head\.0\.weight\)",
    ),
    ("torchvision RetinaNet", without(TV, "rpn.", "roi_heads."), r"is a detector without RPN"),
    (
        "torchvision MobileNet",
        without(TV, "backbone.body.") | {"backbone.body.0.0.weight": (16, 3, 3, 3)},
        r"is a detector whose backbone is not a ResNet",
    ),
    ("torchvision without FPN", without(TV, "backbone.fpn."), r"is a detector without FPN"),
    (
        "Detectron2 keypoints",
        D2 | {"roi_heads.keypoint_head.conv_fcn1.weight": (512, 256, 3, 3)},
        r"is a model with a keypoint head",
    ),
    (
        "Detectron2 cascade",
        renamed(D2, "roi_heads.box_head.", "roi_heads.box_head.0."),
        r"is a Cascade R-CNN \(it has the tensor roi_heads\.box_head\.0\.fc1\.weight\)",
    ),
    ("Detectron2 C4", D2_C4, r"is a C4 model, without FPN"),
    ("Detectron2 DC5", D2_DC5, r"is a DC5 model or another without FPN"),
    (
        "Detectron2 new_baselines: FPN",
        D2 | {"backbone.fpn_lateral2.norm.weight": (256,)},
        r"new_baselines .*large-scale jitter, \(it has the tensor backbone\.fpn_lateral2\.norm\.weight\)",
    ),
    (
        "Detectron2 new_baselines: RPN",
        renamed(D2, "rpn_head.conv.", "rpn_head.conv.conv0."),
        r"new_baselines .*rpn_head\.conv\.conv0\.weight",
    ),
    (
        "Detectron2 new_baselines: box head",
        D2 | {"roi_heads.box_head.conv1.weight": (256, 256, 3, 3)},
        r"new_baselines .*roi_heads\.box_head\.conv1\.weight",
    ),
    ("Detectron2 RetinaNet", without(D2, "proposal_generator.", "roi_heads."), r"is a detector without RPN"),
    (
        "Detectron2 other backbone",
        without(D2, "backbone.bottom_up.") | {"backbone.bottom_up.net.norm.weight": (96,)},
        r"is a detector whose backbone is not a ResNet",
    ),
    ("MMDetection 1.x", MM_1, r"is a model of MMDetection before 2\.0 \(it has the tensor bbox_head\.\w+.*\)"),
    (
        "MMDetection RetinaNet",
        MM_RETINANET,
        r"is a model of MMDetection before 2\.0, or a detector of one stage, \(it has no tensor roi_head\.\.\.\.\)",
    ),
    ("MMDetection cascade", renamed(MM, "roi_head.bbox_head.", "roi_head.bbox_head.0."), r"is a Cascade R-CNN"),
    ("MMDetection C4", MM | {"roi_head.shared_head.layer4.0.conv1.weight": (512, 1024, 1, 1)}, r"is a C4 model"),
    ("MMDetection DC5", without(MM, "neck."), r"is a DC5 model or another without FPN"),
    ("MMDetection keypoints", MM | {"keypoint_head.deconv_layers.0.weight": (1,)}, r"keypoint head"),
    (
        "MMDetection norm in the FPN",
        MM | {"neck.lateral_convs.0.bn.weight": (256,)},
        r"is a model with normalization or further convolutions in FPN and heads",
    ),
    (
        "MMDetection convolutions in the box head",
        MM | {"roi_head.bbox_head.shared_convs.0.conv.weight": (256, 256, 3, 3)},
        r"further convolutions in FPN and heads",
    ),
    ("MMDetection without RPN", without(MM, "rpn_head."), r"is a detector without RPN"),
    (
        "MMDetection other backbone",
        without(MM, "backbone.") | {"backbone.norm3.weight": (768,)},
        r"is a detector whose backbone is not a ResNet",
    ),
]


@pytest.mark.parametrize(("shapes", "message"), [(s, m) for _, s, m in MODELS], ids=[name for name, _, _ in MODELS])
def test_other_model_is_refused_by_name(shapes: Shapes, message: str) -> None:
    file = weight_file(shapes)
    with pytest.raises(InvalidInput, match=message) as refused:
        convert_detector(file, project_of(file))
    assert str(refused.value).startswith("checkpoint: model.pth is ")
    assert "which is not supported: give mask" in str(refused.value)


@pytest.mark.parametrize("shapes", [TV, key_lists.torchvision(old=True), D2, MM])
def test_mask_rcnn_with_resnet_and_fpn_is_accepted(shapes: Shapes) -> None:
    file = weight_file(shapes)
    refuse_other_models(file, project_of(file))


def test_backbone_is_never_refused() -> None:
    refuse_other_models(weight_file(key_lists.torch_resnet(50)), Project.BACKBONE)
