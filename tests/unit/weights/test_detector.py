"""Detectors of the three projects have the same variables in this network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.weights import key_lists
from tests.unit.weights.key_lists import Shapes, weight_file

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.detector import Detector, convert_caffe2_backbone, convert_detector
from maskrcnn_trainer.weights.file import WeightFile
from maskrcnn_trainer.weights.project import Project, project_of
from maskrcnn_trainer.weights.resnet_layers import resnet_shapes

BUILDERS: dict[str, Callable[[], Shapes]] = {
    "torchvision": lambda: key_lists.torchvision(classes=6),
    "torchvision, old names": lambda: key_lists.torchvision(old=True, classes=6),
    "Detectron2": lambda: key_lists.detectron2(classes=5, anchors=True),
    "MMDetection": lambda: key_lists.mmdetection(classes=5),
}


def numbered(shapes: Shapes) -> WeightFile:
    """Return a file in which every value of a tensor is the tensor's number."""
    file = weight_file(shapes)
    tensors: dict[str, NDArray[Any]] = {
        name: np.broadcast_to(np.float32(number), shape) for number, (name, shape) in enumerate(shapes.items())
    }
    return replace(file, tensors=tensors)


@cache
def converted(kind: str) -> tuple[Detector, dict[str, int]]:
    shapes = BUILDERS[kind]()
    file = numbered(shapes)
    return convert_detector(file, project_of(file)), {name: number for number, name in enumerate(shapes)}


@pytest.mark.parametrize("kind", BUILDERS)
def test_all_projects_give_the_same_variables(kind: str) -> None:
    detector, _ = converted(kind)
    shapes = {name: value.shape for name, value in detector.values.items()}
    assert len(shapes) == 307
    assert shapes == {name: value.shape for name, value in converted("torchvision")[0].values.items()}
    assert (detector.nlayers, detector.num_classes, detector.head_dim, detector.has_masks) == (50, 6, 1024, True)


def test_variables_have_the_shapes_of_the_network() -> None:
    values = converted("Detectron2")[0].values
    expected = {
        "conv1/kernel": (7, 7, 3, 64),
        "block_2a_conv_shortcut/kernel": (1, 1, 256, 512),
        "block_4c_bn_3/moving_variance": (2048,),
        "l5/kernel": (1, 1, 2048, 256),
        "post_hoc_d2/bias": (256,),
        "rpn-class/kernel": (1, 1, 256, 3),
        "rpn-box/kernel": (1, 1, 256, 12),
        "fc6/kernel": (12544, 1024),
        "class-predict/kernel": (1024, 6),
        "box-predict/kernel": (1024, 24),
        "box-predict/bias": (24,),
        "conv5-mask/kernel": (2, 2, 256, 256),
        "mask_fcn_logits/kernel": (1, 1, 256, 6),
    }
    assert {name: values[name].shape for name in expected} == expected


NAMES = {
    "conv1/kernel": ("backbone.body.conv1.weight", "stem.conv1.weight", "backbone.conv1.weight"),
    "bn_conv1/moving_variance": ("body.bn1.running_var", "stem.conv1.norm.running_var", "backbone.bn1.running_var"),
    "block_1a_conv_1/kernel": ("body.layer1.0.conv1.weight", "res2.0.conv1.weight", "backbone.layer1.0.conv1.weight"),
    "block_3f_bn_2/gamma": ("layer3.5.bn2.weight", "res4.5.conv2.norm.weight", "backbone.layer3.5.bn2.weight"),
    "block_4a_conv_shortcut/kernel": (
        "layer4.0.downsample.0.weight",
        "res5.0.shortcut.weight",
        "layer4.0.downsample.0.weight",
    ),
    "block_4a_bn_shortcut/beta": (
        "layer4.0.downsample.1.bias",
        "res5.0.shortcut.norm.bias",
        "layer4.0.downsample.1.bias",
    ),
    "l2/kernel": ("fpn.inner_blocks.0.0.weight", "fpn_lateral2.weight", "neck.lateral_convs.0.conv.weight"),
    "post_hoc_d5/bias": ("fpn.layer_blocks.3.0.bias", "fpn_output5.bias", "neck.fpn_convs.3.conv.bias"),
    "rpn/kernel": ("rpn.head.conv.0.0.weight", "rpn_head.conv.weight", "rpn_head.rpn_conv.weight"),
    "rpn-class/bias": ("rpn.head.cls_logits.bias", "objectness_logits.bias", "rpn_head.rpn_cls.bias"),
    "rpn-box/bias": ("rpn.head.bbox_pred.bias", "anchor_deltas.bias", "rpn_head.rpn_reg.bias"),
    "fc6/bias": ("box_head.fc6.bias", "box_head.fc1.bias", "shared_fcs.0.bias"),
    "fc7/kernel": ("box_head.fc7.weight", "box_head.fc2.weight", "shared_fcs.1.weight"),
    "mask-conv-l0/bias": ("mask_head.0.0.bias", "mask_fcn1.bias", "mask_head.convs.0.conv.bias"),
    "mask-conv-l3/bias": ("mask_head.3.0.bias", "mask_fcn4.bias", "mask_head.convs.3.conv.bias"),
    "conv5-mask/bias": ("conv5_mask.bias", "deconv.bias", "upsample.bias"),
    "class-predict/bias": ("box_predictor.cls_score.bias", "box_predictor.cls_score.bias", "bbox_head.fc_cls.bias"),
}


@pytest.mark.parametrize(("position", "kind"), [(0, "torchvision"), (1, "Detectron2"), (2, "MMDetection")])
def test_each_variable_comes_from_the_tensor_of_its_meaning(position: int, kind: str) -> None:
    detector, numbers = converted(kind)
    for variable, names in NAMES.items():
        (number,) = (number for name, number in numbers.items() if name.endswith(names[position]))
        assert np.all(detector.values[variable] == number), variable


def test_old_names_of_torchvision_have_the_same_meaning_as_new_ones() -> None:
    old, new = converted("torchvision, old names")[0].values, converted("torchvision")[0].values
    assert all(np.array_equal(old[name].ravel()[-1:], new[name].ravel()[-1:]) for name in new)


def test_file_may_mix_the_spellings_of_torchvision() -> None:
    shapes = {
        key_lists.old_torchvision_name(name) if "mask" in name else name: shape
        for name, shape in key_lists.torchvision(18, classes=3).items()
    }
    assert convert_detector(weight_file(shapes), Project.TORCHVISION).has_masks


def test_both_spellings_of_one_tensor_are_refused() -> None:
    shapes = key_lists.torchvision(18, classes=3) | {"rpn.head.conv.weight": (256, 256, 3, 3)}
    with pytest.raises(InvalidInput, match=r"holds rpn/kernel twice, as rpn\.head\.conv\.0\.0\.weight and as rpn\."):
        convert_detector(weight_file(shapes), Project.TORCHVISION)


@pytest.mark.parametrize("depth", key_lists.BLOCKS)
def test_any_depth_is_read_under_the_names_of_torchvision(depth: int) -> None:
    detector = convert_detector(weight_file(key_lists.torchvision(depth, classes=3)), Project.TORCHVISION)
    assert detector.nlayers == depth
    assert detector.values["l5/kernel"].shape[2] == (2048 if depth >= 50 else 512)


@pytest.mark.parametrize("shapes_of", [key_lists.torchvision, key_lists.detectron2, key_lists.mmdetection])
def test_faster_rcnn_has_no_mask_layers(shapes_of: Callable[..., Shapes]) -> None:
    file = weight_file(shapes_of(classes=4, masks=False))
    detector = convert_detector(file, project_of(file))
    assert not detector.has_masks
    assert not [name for name in detector.values if "mask" in name]


def test_anchors_and_input_statistics_of_older_files_of_detectron2_are_returned() -> None:
    shapes = key_lists.detectron2(classes=2, anchors=True) | {"pixel_mean": (3, 1, 1), "pixel_std": (3, 1, 1)}
    file = numbered(shapes)
    detector = convert_detector(file, Project.DETECTRON2)
    assert list(detector.cell_anchors) == [2, 3, 4, 5, 6]
    assert detector.cell_anchors[2].shape == (3, 4)
    assert detector.pixel_mean == (len(shapes) - 2,) * 3
    assert detector.pixel_deviation == (len(shapes) - 1,) * 3


def test_counters_of_batch_norms_are_ignored() -> None:
    ignored = converted("MMDetection")[0].ignored
    assert len(ignored) == 53
    assert all(name.endswith("num_batches_tracked") for name in ignored)


def replaced(shapes: Shapes, new: dict[str, tuple[int, ...]]) -> Shapes:
    assert set(new) <= set(shapes)
    return shapes | new


D2 = key_lists.detectron2(classes=5)
MM = key_lists.mmdetection(classes=5)
TV = key_lists.torchvision(classes=6)
WRONG: list[tuple[str, Shapes, str]] = [
    (
        "class-agnostic boxes of Detectron2",
        replaced(
            D2,
            {"roi_heads.box_predictor.bbox_pred.weight": (4, 1024), "roi_heads.box_predictor.bbox_pred.bias": (4,)},
        ),
        r"has class-agnostic boxes \(roi_heads\.box_predictor\.bbox_pred\.weight has 4 rows for 5 classes\)",
    ),
    (
        "class-agnostic boxes of MMDetection",
        replaced(MM, {"roi_head.bbox_head.fc_reg.weight": (4, 1024), "roi_head.bbox_head.fc_reg.bias": (4,)}),
        r"has class-agnostic boxes",
    ),
    (
        "class-agnostic masks",
        replaced(D2, {"roi_heads.mask_head.predictor.weight": (1, 256, 1, 1)}),
        r"has class-agnostic masks \(roi_heads\.mask_head\.predictor\.weight has 1 row for 5 classes\)",
    ),
    (
        "X-101 of Detectron2",
        replaced(
            D2,
            {
                "backbone.bottom_up.res2.0.conv1.weight": (256, 64, 1, 1),
                "backbone.bottom_up.res2.0.conv2.weight": (256, 8, 3, 3),
            },
        ),
        r"has a ResNeXt, such as X-101 \(the convolution of backbone\.bottom_up\.res2\.0\.conv2\.weight is grouped: 8 ",
    ),
    (
        "ResNeXt of MMDetection",
        replaced(MM, {"backbone.layer1.0.conv2.weight": (64, 2, 3, 3)}),
        r"has a ResNeXt, such as X-101 \(the convolution of backbone\.layer1\.0\.conv2\.weight is grouped: 2 ",
    ),
    (
        "wide ResNet",
        replaced(
            TV,
            {
                "backbone.body.layer1.0.conv1.weight": (128, 64, 1, 1),
                "backbone.body.layer1.0.conv2.weight": (128, 128, 3, 3),
            },
        ),
        r"has a ResNet of another width \(backbone\.body\.layer1\.0\.conv1\.weight has the shape \(128, 64, 1, 1\)",
    ),
    (
        "other anchors",
        replaced(TV, {"rpn.head.cls_logits.weight": (15, 256, 1, 1)}),
        r"rpn\.head\.cls_logits\.weight has the shape \(15, 256, 1, 1\), not \(3, 256, 1, 1\)",
    ),
    (
        "other pooled size",
        replaced(TV, {"roi_heads.box_head.fc6.weight": (1024, 256 * 14 * 14)}),
        r"roi_heads\.box_head\.fc6\.weight has the shape \(1024, 50176\), not \(1024, 12544\)",
    ),
    (
        "unknown tensors",
        D2 | {f"sem_seg_head.p{i}.weight": (1,) for i in range(9)},
        r"has tensors that a ResNet .* does not have \(sem_seg_head\.p0\.weight, .*, and 5 more\)",
    ),
    (
        "unknown layer of a block",
        MM | {"backbone.layer1.0.conv2_offset.weight": (1,), "backbone.layer1.0.conv4.weight": (1,)},
        r"does not have \(backbone\.layer1\.0\.conv2_offset\.weight, backbone\.layer1\.0\.conv4\.weight\)",
    ),
    (
        "missing tensors",
        {name: shape for name, shape in TV.items() if "layer_blocks.2" not in name},
        r"lacks tensors of the model \(those for post_hoc_d4/kernel, post_hoc_d4/bias\)",
    ),
    (
        "half a mask head",
        {name: shape for name, shape in TV.items() if "conv5_mask" not in name},
        r"lacks tensors of the model \(those for conv5-mask/kernel, conv5-mask/bias\)",
    ),
    (
        "group norm",
        {name: shape for name, shape in D2.items() if ".running_" not in name},
        r"has normalization layers without statistics \(bn_conv1/moving_mean, .* such as group norm",
    ),
    (
        "no box head",
        {name: shape for name, shape in MM.items() if "fc_cls" not in name},
        r"has no tensor for class-predict/kernel",
    ),
    ("one class", key_lists.torchvision(classes=1), r"has 1 classes; at least the background and one more"),
    (
        "other depth",
        {name: shape for name, shape in TV.items() if "layer3.5." not in name},
        r"holds a ResNet with 3, 4, 5, 3 blocks in its stages, which no nlayers has; give a model with a ResNet of ",
    ),
]


@pytest.mark.parametrize(("shapes", "message"), [(s, m) for _, s, m in WRONG], ids=[name for name, _, _ in WRONG])
def test_model_of_other_sizes_is_refused(shapes: Shapes, message: str) -> None:
    file = weight_file(shapes)
    with pytest.raises(InvalidInput, match=rf"^checkpoint: model\.pth .*{message}"):
        convert_detector(file, project_of(file))


def test_quantized_weights_are_refused() -> None:
    file = weight_file(TV)
    tensors = {**file.tensors, "backbone.body.conv1.weight": np.zeros((64, 3, 7, 7), np.int8)}
    with pytest.raises(InvalidInput, match=r"backbone\.body\.conv1\.weight is of type int8"):
        convert_detector(replace(file, tensors=tensors), Project.TORCHVISION)


@pytest.mark.parametrize("depth", [50, 101])
def test_scale_and_offset_of_caffe2_become_a_batch_norm_with_mean_0_and_variance_1(depth: int) -> None:
    shapes = key_lists.caffe2_resnet(depth)
    numbers = {name: number for number, name in enumerate(shapes)}
    backbone = convert_caffe2_backbone(numbered(shapes))
    assert {name: value.shape for name, value in backbone.values.items()} == resnet_shapes(depth)
    assert (backbone.nlayers, backbone.num_classes, backbone.has_masks) == (depth, 0, False)
    expected = {
        "conv1/kernel": numbers["conv1_w"],
        "bn_conv1/gamma": numbers["res_conv1_bn_s"],
        "bn_conv1/beta": numbers["res_conv1_bn_b"],
        "block_1a_conv_1/kernel": numbers["res2_0_branch2a_w"],
        "block_1a_conv_shortcut/kernel": numbers["res2_0_branch1_w"],
        "block_4c_bn_3/beta": numbers["res5_2_branch2c_bn_b"],
        "block_4a_bn_shortcut/gamma": numbers["res5_0_branch1_bn_s"],
        "block_4c_bn_3/moving_mean": 0,
        "block_4c_bn_3/moving_variance": 1,
    }
    for name, value in expected.items():
        assert np.all(backbone.values[name] == value), name
    assert list(backbone.ignored) == ["fc1000_w", "fc1000_b", "conv1_b"]


@pytest.mark.parametrize("depth", [50, 101])
def test_statistics_of_caffe2_are_kept(depth: int) -> None:
    shapes = key_lists.caffe2_resnet(depth, statistics=True)
    assert "res2_0_branch2a_bn_running_mean" in shapes
    file = numbered(shapes)
    backbone = convert_caffe2_backbone(file)
    for ours, theirs in (
        ("bn_conv1/moving_mean", "res_conv1_bn_running_mean"),
        ("bn_conv1/gamma", "res_conv1_bn_gamma"),
        ("block_1a_bn_1/moving_variance", "res2_0_branch2a_bn_running_var"),
        ("block_1a_bn_1/beta", "res2_0_branch2a_bn_beta"),
        ("block_4c_bn_3/moving_mean", "res5_2_branch2c_bn_running_mean"),
    ):
        np.testing.assert_array_equal(backbone.values[ours], file.tensors[theirs], err_msg=ours)


def test_caffe2_backbone_with_some_statistics_is_refused() -> None:
    shapes = key_lists.caffe2_resnet(statistics=True)
    del shapes["res3_0_branch1_bn_running_var"]
    with pytest.raises(InvalidInput, match="without statistics"):
        convert_caffe2_backbone(weight_file(shapes))


def test_caffe2_backbone_without_a_tensor_is_refused() -> None:
    shapes = {name: shape for name, shape in key_lists.caffe2_resnet().items() if name != "res3_1_branch2b_w"}
    with pytest.raises(InvalidInput, match=r"lacks tensors of the model \(those for block_2b_conv_2/kernel\)"):
        convert_caffe2_backbone(weight_file(shapes))
