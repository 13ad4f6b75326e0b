"""Detectors of the three projects that this network cannot represent, recognized by the names of their tensors.

Models that differ in shapes alone are refused in `detector`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.file import WeightFile
from maskrcnn_trainer.weights.project import Project


@dataclass(frozen=True)
class _Present:
    """Model that has a tensor of a name.

    Attributes:
        project: whose names they are.
        model: for the message, after "is".
        name: matches the whole name of one of its tensors.
    """

    project: Project
    model: str
    name: re.Pattern[str]


@dataclass(frozen=True)
class _Absent:
    """Model that lacks tensors which each readable model has.

    Attributes:
        project: whose names they are.
        model: for the message, after "is".
        beginning: of a tensor's name that each readable model has.
    """

    project: Project
    model: str
    beginning: str


_TV, _D2, _MM = Project.TORCHVISION, Project.DETECTRON2, Project.MMDETECTION
_KEYPOINTS = "a model with a keypoint head"
_CASCADE = "a Cascade R-CNN"
_C4 = "a C4 model, without FPN"
_DC5 = "a DC5 model or another without FPN"

_PRESENT = (
    _Present(
        _TV,
        "a _v2 model of torchvision, with batch norm in FPN and heads and four convolutions in the box head",
        re.compile(
            r"(rpn\.head\.conv\.1\.|backbone\.fpn\.(inner|layer)_blocks\.\d\.1\.|roi_heads\.box_head\.\d\.|"
            r"roi_heads\.mask_head\.\d\.1\.).+"
        ),
    ),
    _Present(_TV, _KEYPOINTS, re.compile(r"roi_heads\.keypoint_.+")),
    _Present(_D2, _KEYPOINTS, re.compile(r"roi_heads\.keypoint_.+")),
    _Present(_D2, _CASCADE, re.compile(r"roi_heads\.box_(head|predictor)\.\d\..+")),
    _Present(_D2, _C4, re.compile(r"roi_heads\.res5\..+")),
    _Present(
        _D2,
        "a model with normalization or further convolutions in FPN and heads, such as those of new_baselines that were "
        "trained with large-scale jitter,",
        re.compile(
            r"(backbone\.fpn_(lateral|output)\d\.norm\.|proposal_generator\.rpn_head\.conv\.conv\d|"
            r"roi_heads\.box_head\.conv\d|roi_heads\.mask_head\.mask_fcn\d\.norm\.).+"
        ),
    ),
    _Present(_MM, _CASCADE, re.compile(r"roi_head\.(bbox|mask)_head\.\d\..+")),
    _Present(_MM, _C4, re.compile(r"roi_head\.shared_head\..+")),
    _Present(_MM, _KEYPOINTS, re.compile(r"(roi_head\.)?keypoint_.+")),
    _Present(
        _MM,
        "a model with normalization or further convolutions in FPN and heads",
        re.compile(r"(neck\..+\.(bn|gn|norm)|roi_head\..+\.(bn|gn|norm)|roi_head\.bbox_head\.shared_convs)\..+"),
    ),
    _Present(_MM, "a model of MMDetection before 2.0", re.compile(r"bbox_head\.(fc_cls|shared_fcs|0)\..+")),
)
_ABSENT = (
    _Absent(_TV, "a detector without RPN", "rpn.head."),
    _Absent(_TV, "a detector whose backbone is not a ResNet", "backbone.body.conv1.weight"),
    _Absent(_TV, "a detector without FPN", "backbone.fpn."),
    _Absent(_D2, "a detector without RPN", "proposal_generator.rpn_head."),
    _Absent(_D2, _DC5, "backbone.fpn_"),
    _Absent(_D2, "a detector whose backbone is not a ResNet", "backbone.bottom_up.stem.conv1.weight"),
    _Absent(_MM, "a model of MMDetection before 2.0, or a detector of one stage,", "roi_head."),
    _Absent(_MM, "a detector without RPN", "rpn_head.rpn_conv."),
    _Absent(_MM, _DC5, "neck."),
    _Absent(_MM, "a detector whose backbone is not a ResNet", "backbone.conv1.weight"),
)

_READABLE = {
    _TV: "maskrcnn_resnet50_fpn or fasterrcnn_resnet50_fpn of torchvision",
    _D2: "mask_rcnn_R_50_FPN or mask_rcnn_R_101_FPN of Detectron2's model zoo",
    _MM: "mask-rcnn_r50_fpn or mask-rcnn_r101_fpn of MMDetection 2.x or 3.x",
}


def refuse_other_models(file: WeightFile, project: Project) -> None:
    """Refuse a detector of other structure than Mask R-CNN or Faster R-CNN with ResNet and FPN.

    Args:
        file: the weight file.
        project: the result of `project.project_of`; a backbone is never refused.

    Raises:
        InvalidInput: it has tensors of such a model, or lacks some; the message names the kind of the model.
    """
    for row in _PRESENT:
        if row.project is project and (name := _first(file.tensors, row.name)) is not None:
            raise _refused(file.path, row.model, f"it has the tensor {name}", project)
    for absent in _ABSENT:
        if absent.project is project and not any(name.startswith(absent.beginning) for name in file.tensors):
            raise _refused(file.path, absent.model, f"it has no tensor {absent.beginning}...", project)


def _first(names: Collection[str], pattern: re.Pattern[str]) -> str | None:
    return next((name for name in names if pattern.fullmatch(name)), None)


def _refused(path: str, model: str, reason: str, project: Project) -> InvalidInput:
    return InvalidInput(f"checkpoint: {path} is {model} ({reason}), which is not supported: give {_READABLE[project]}")
