"""Strides and shortcuts of the variants of ResNet, and the names of their layers."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.model.backbones.resnet import ResNet

ORIGINAL = ResNet("original", epsilon=1e-3, as_torchvision=False, stride_on_1x1=True)
V1 = ResNet("v1", epsilon=1e-5, as_torchvision=True, stride_on_1x1=True)
V1_5 = ResNet("v1_5", epsilon=1e-5, as_torchvision=True, stride_on_1x1=False)


def test_stride_is_on_the_first_convolution_or_on_the_3x3() -> None:
    for backbone, strides in ((ORIGINAL, [2, 1, 1]), (V1, [2, 1, 1]), (V1_5, [1, 2, 1])):
        blocks = {block.name: block for block in backbone.sub_blocks(50)}
        assert [conv.stride for conv in blocks["block_2a"].convs] == strides


@pytest.mark.parametrize("depth", ResNet.depths)
def test_variants_differ_in_strides_from_50_layers_on(depth: int) -> None:
    assert (list(V1.sub_blocks(depth)) == list(V1_5.sub_blocks(depth))) == (depth < 50)


@pytest.mark.parametrize("depth", ResNet.depths)
def test_shortcut_is_projected_in_every_stage_or_where_its_shape_changes(depth: int) -> None:
    where_the_shape_changes = 1 if depth >= 50 else 2
    for backbone, first in ((ORIGINAL, 1), (V1, where_the_shape_changes), (V1_5, where_the_shape_changes)):
        projected = [block.name for block in backbone.sub_blocks(depth) if block.shortcut]
        assert projected == [f"block_{stage}a" for stage in range(first, 5)]


def test_layers_have_the_names_of_the_original_template() -> None:
    assert list(ORIGINAL.sub_blocks(101))[-4].name == "block_3w"
    assert [stage.layer for stage in ORIGINAL.stages(50)] == [
        "block_1c_relu",
        "block_2d_relu",
        "block_3f_relu",
        "block_4c_relu",
    ]
    blocks = V1_5.blocks(10)
    assert blocks[0] == ("conv1", "bn_conv1")
    assert blocks[1] == ("block_1a_conv_1", "block_1a_bn_1", "block_1a_conv_2", "block_1a_bn_2")
    assert blocks[4][-2:] == ("block_4a_conv_shortcut", "block_4a_bn_shortcut")


def test_weights_of_torchvision_are_noted_to_fit_v1_5() -> None:
    assert V1_5.torch_notes({}) == ()
    for backbone, other in ((ORIGINAL, "resnet has other strides and padding"), (V1, "resnet_v1 has other strides")):
        (note,) = backbone.torch_notes({})
        assert other in note
