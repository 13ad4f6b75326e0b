"""Project that a weight file comes from, by the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.file import WeightFile


class Project(StrEnum):
    """Origin of a weight file, as messages name it."""

    TORCHVISION = "torchvision"
    DETECTRON2 = "Detectron2"
    MMDETECTION = "MMDetection"
    DETECTRON2_BACKBONE = "Detectron2's backbones with Caffe2 names"
    BACKBONE = "backbones with the names of torchvision or timm"

    @property
    def is_detector(self) -> bool:
        """True if its files hold FPN, RPN, and heads, whose meaning is that of a style."""
        return self in (Project.TORCHVISION, Project.DETECTRON2, Project.MMDETECTION)


_SECTIONS = (
    (Project.DETECTRON2, re.compile(r"proposal_generator\.|backbone\.((bottom_up|stem|res[2-5])\.|fpn_)")),
    (Project.TORCHVISION, re.compile(r"backbone\.(body|fpn)\.|rpn\.|roi_heads\.")),
    (Project.MMDETECTION, re.compile(r"(neck|rpn_head|roi_head|bbox_head|mask_head)\.")),
    (Project.DETECTRON2_BACKBONE, re.compile(r"(conv1|res[2-5]_\d+_branch(1|2[abc]))_(w|bn_s)$")),
)
"""Beginnings of names that one project alone uses, in the order in which they are looked for."""

_DETECTRON1 = "fpn_inner_res", "cls_score_w", "rpn_cls_logits", "conv_rpn"
_DETECTRON2_STEM = re.compile(r"(stem\.conv1|res2\.0\.conv1)\.weight")


def project_of(file: WeightFile) -> Project:
    """Return the project whose names a file has.

    A file with none of the known names is taken for a backbone, whose reader names the tensors that it lacks. It isn't
    checked that the model can be read, see `refusals.refuse_other_models`.

    Raises:
        InvalidInput: it is a file of Detectron1, or a backbone that was renamed for Detectron2.
    """
    names = file.tensors
    if _is_of_detectron1(file):
        raise InvalidInput(
            f"checkpoint: {file.path} is a file of Detectron1 (tensors under blobs, or of its optimizer), which is not "
            "supported, because its boxes are one pixel larger: give a model of Detectron2's model zoo, or its R-50.pkl"
        )
    for project, pattern in _SECTIONS:
        if any(pattern.match(name) for name in names):
            return project
    if any(_DETECTRON2_STEM.fullmatch(name) for name in names):
        raise InvalidInput(
            f"checkpoint: {file.path} is a backbone with Detectron2's names (stem.conv1.weight), which is not "
            "supported: give the torchvision file that it was converted from, or R-50.pkl with Caffe2 names"
        )
    return Project.BACKBONE


def _is_of_detectron1(file: WeightFile) -> bool:
    in_blobs = "blobs" in file.within or "blobs" in file.extra
    return in_blobs or any(name.endswith("_momentum") for name in file.tensors) or _has_any(file.tensors, _DETECTRON1)


def _has_any(names: Collection[str], beginnings: tuple[str, ...]) -> bool:
    return any(name.startswith(beginnings) and "." not in name for name in names)
