"""Project of a weight file by the names of its tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.weights import key_lists
from tests.unit.weights.key_lists import Shapes, weight_file

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.project import Project, project_of

FILES = [
    (key_lists.torchvision(), Project.TORCHVISION),
    (key_lists.torchvision(old=True), Project.TORCHVISION),
    (key_lists.torchvision(18, masks=False), Project.TORCHVISION),
    (key_lists.detectron2(), Project.DETECTRON2),
    (key_lists.detectron2(101, anchors=True), Project.DETECTRON2),
    (key_lists.mmdetection(), Project.MMDETECTION),
    (key_lists.mmdetection(101, masks=False), Project.MMDETECTION),
    (key_lists.caffe2_resnet(), Project.DETECTRON2_BACKBONE),
    (key_lists.caffe2_resnet(101), Project.DETECTRON2_BACKBONE),
    (key_lists.torch_resnet(50), Project.BACKBONE),
    (key_lists.torch_resnet(18, "backbone.", counters=True), Project.BACKBONE),
    ({"anything.weight": (3,)}, Project.BACKBONE),
]


@pytest.mark.parametrize(("shapes", "project"), FILES)
def test_project_follows_from_the_names(shapes: Shapes, project: Project) -> None:
    assert project_of(weight_file(shapes)) is project


def test_detectors_need_a_style_and_backbones_do_not() -> None:
    assert [project for project in Project if project.is_detector] == [
        Project.TORCHVISION,
        Project.DETECTRON2,
        Project.MMDETECTION,
    ]


@pytest.mark.parametrize("within", [("blobs",), ()])
def test_file_of_detectron1_is_refused(within: tuple[str, ...]) -> None:
    backbone = key_lists.caffe2_resnet()
    shapes = backbone if within else backbone | {"conv_rpn_fpn2_w": (256, 256, 3, 3)}
    with pytest.raises(InvalidInput, match=r"^checkpoint: model\.pth is a file of Detectron1 .*Detectron2's model zoo"):
        project_of(replace(weight_file(shapes), within=within))


def test_file_with_the_optimizer_of_detectron1_is_refused() -> None:
    shapes = key_lists.caffe2_resnet() | {"conv1_w_momentum": (64, 3, 7, 7)}
    with pytest.raises(InvalidInput, match="Detectron1"):
        project_of(weight_file(shapes))


def test_backbone_that_was_renamed_for_detectron2_is_refused() -> None:
    shapes: Shapes = {
        name.removeprefix("backbone.bottom_up."): shape for name, shape in key_lists.detectron2_resnet(50).items()
    }
    with pytest.raises(InvalidInput, match=r"is a backbone with Detectron2's names .*give the torchvision file"):
        project_of(weight_file(shapes))
