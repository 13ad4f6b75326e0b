"""Detectors and backbones of other projects: architecture, weights for this network's input, names, and notes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.weights import key_lists, stand_ins
from tests.unit.weights.test_model_config import DETECTRON2, MMDET_MODEL

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.spec import parse_spec
from maskrcnn_trainer.weights.file import Form, WeightFile
from maskrcnn_trainer.weights.input_statistics import NETWORK_DEVIATION, NETWORK_MEAN
from maskrcnn_trainer.weights.opening import (
    DetectorOptions,
    OpenedDetector,
    open_caffe2_backbone,
    open_detector,
)
from maskrcnn_trainer.weights.project import project_of
from maskrcnn_trainer.weights.style import STYLES, StyleName

ROOT = 0.5**0.5
SAME_IN_ALL: dict[str, Any] = {
    "nlayers": 10,
    "max_level": 6,
    "num_scales": 1,
    "aspect_ratios": ((1 / ROOT, ROOT), (1.0, 1.0), (1 / 2**0.5, 2**0.5)),
    "anchor_scale": 8.0,
    "num_classes": 4,
    "fast_rcnn_mlp_head_dim": stand_ins.HEAD_DIM,
    "mrcnn_resolution": 28,
    "bbox_reg_weights": (10.0, 10.0, 5.0, 5.0),
    "anchor_offset": 0.0,
    "roi_max_level": 5,
    "score_threshold": 0.05,
    "candidate_limit": None,
}
PROPOSALS_OF_MMDETECTION = {"clip_small_deltas": True, "rank_by_sigmoid": True}
ADAPTIVE = {"roi_aligned": True, "roi_sampling_ratio": 0, "anchor_rounding": "none", "mask_pasting": "pixel_centers"}
TWO_SAMPLES = {"roi_aligned": False, "roi_sampling_ratio": 2}
TABLE: dict[str, dict[str, Any]] = {
    "torchvision": {
        "arch": "resnet_v1_5",
        "batch_norm_epsilon": 0.0,
        **TWO_SAMPLES,
        "anchor_rounding": "corners",
        "mask_pasting": "whole_pixels",
        "least_proposal_side": 1e-3,
        "least_detection_side": 1e-2,
    },
    "detectron2": {"arch": "resnet_v1", **ADAPTIVE},
    "detectron2-torchvision": {"arch": "resnet_v1_5", **ADAPTIVE},
    "detectron2-d1compat": {"arch": "resnet_v1", **ADAPTIVE, **TWO_SAMPLES},
    "mmdet-pytorch": {"arch": "resnet_v1_5", **ADAPTIVE, **PROPOSALS_OF_MMDETECTION},
    "mmdet-caffe": {"arch": "resnet_v1", **ADAPTIVE, **PROPOSALS_OF_MMDETECTION},
}
"""Architecture of each style, by the sources that `weights.style_table` names."""

OTHER_MEAN = "PIXEL_MEAN: [102.9801, 115.9465, 122.7717]"


@cache
def tensors_of(style: str) -> stand_ins.Tensors:
    return stand_ins.detector(style)


def file_of(style: str, **extra: Any) -> WeightFile:
    return WeightFile("m.pth", Form.TORCH_ZIP, tensors_of(style), extra)


def opened(style: str | None, *, file: WeightFile | None = None, **options: Any) -> OpenedDetector:
    chosen = file or file_of(str(style))
    return open_detector(chosen, project_of(chosen), DetectorOptions(style, **options))


@cache
def plain(style: str) -> OpenedDetector:
    return opened(style)


def config_file(folder: Path, text: str) -> Path:
    path = folder / ("config.py" if "model = dict" in text else "config.yaml")
    path.write_text(text)
    return path


@pytest.mark.parametrize("style", TABLE)
def test_style_gives_its_architecture(style: str) -> None:
    found = plain(style).architecture
    expected = Architecture(**SAME_IN_ALL, **({"batch_norm_epsilon": 1e-5} | TABLE[style]))
    assert replace(found, aspect_ratios=expected.aspect_ratios) == expected
    np.testing.assert_allclose(found.aspect_ratios, expected.aspect_ratios, rtol=1e-12)
    assert found.epsilon == (0 if style == "torchvision" else 1e-5)


def test_all_styles_are_in_the_table() -> None:
    assert list(TABLE) == list(StyleName)


@pytest.mark.parametrize("style", TABLE)
def test_architecture_survives_a_model_file(style: str) -> None:
    architecture = plain(style).architecture
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_given_epsilon_replaces_that_of_the_style() -> None:
    assert opened("torchvision", bn_epsilon=1e-5).architecture.epsilon == 1e-5


def test_settings_of_the_config_replace_those_of_the_style(tmp_path: Path) -> None:
    found = opened("mmdet-caffe", config=config_file(tmp_path, MMDET_MODEL)).architecture
    assert (found.roi_aligned, found.roi_sampling_ratio) == (False, 2)


@pytest.mark.parametrize("style", TABLE)
def test_first_convolution_gives_the_same_for_the_input_of_this_network(style: str) -> None:
    """One pixel of the image through the center of the kernel, as the model and as this network normalize it."""
    kernel = plain(style).values["conv1/kernel"][3, 3]
    stem = next(value for value in tensors_of(style).values() if value.shape == (64, 3, 7, 7))
    rgb = np.array([200.0, 30.0, 90.0])
    if STYLES[StyleName(style)].input.channels == "BGR":
        theirs = (rgb[::-1] - [103.53, 116.28, 123.675]) @ stem[:, :, 3, 3].T
    else:
        theirs = (rgb - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375] @ stem[:, :, 3, 3].T
    ours = (rgb - NETWORK_MEAN) / NETWORK_DEVIATION @ kernel
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_variables_are_float32_and_only_the_first_convolution_is_changed() -> None:
    values = plain("detectron2").values
    assert {value.dtype for value in values.values()} == {np.dtype(np.float32)}
    weight = tensors_of("detectron2")["backbone.bottom_up.res3.0.conv2.weight"]
    np.testing.assert_array_equal(values["block_2a_conv_2/kernel"], weight.transpose(2, 3, 1, 0))


def test_another_mean_is_refused(tmp_path: Path) -> None:
    text = DETECTRON2.replace("PIXEL_MEAN: [103.53, 116.28, 123.675]", OTHER_MEAN)
    message = r"^checkpoint: m\.pth was trained for BGR with mean 102\.98, .* whose mean differs .*123\.675"
    with pytest.raises(InvalidInput, match=message):
        opened(None, file=file_of("detectron2"), config=config_file(tmp_path, text))


@pytest.mark.parametrize(("style", "stem"), [("detectron2", 57.12), ("detectron2-torchvision", 1 / 57.12)])
def test_weights_for_another_input_are_refused(style: str, stem: float) -> None:
    name = "backbone.bottom_up.stem.conv1.weight"
    tensors = {**tensors_of(style), name: tensors_of(style)[name] * np.float32(stem)}
    with pytest.raises(InvalidInput, match=rf"^checkpoint: m\.pth was trained for .*, but checkpointStyle {style} has"):
        opened(style, file=replace(file_of(style), tensors=tensors))


def test_weights_between_both_inputs_are_noted() -> None:
    name = "backbone.bottom_up.stem.conv1.weight"
    tensors = {**tensors_of("detectron2"), name: tensors_of("detectron2")[name] * np.float32(7.5)}
    (note,) = opened("detectron2", file=replace(file_of("detectron2"), tensors=tensors)).notes
    assert note.endswith("is right")


def test_names_are_given_or_in_the_file_or_unknown() -> None:
    named = file_of("mmdet-caffe", meta={"CLASSES": ("x", "y", "z")})
    assert opened("mmdet-caffe", file=named).class_names == (None, "x", "y", "z")
    assert opened("mmdet-caffe", file=named, class_names=("a", "N/A", "c")).class_names == (None, "a", None, "c")
    assert plain("mmdet-caffe").class_names is None


def test_names_of_another_number_of_classes_are_noted() -> None:
    named = file_of("mmdet-caffe", meta={"CLASSES": ("x", "y")})
    detector = opened("mmdet-caffe", file=named)
    assert detector.class_names is None
    assert any("meta names 2 classes, but the file has 3" in note for note in detector.notes)
    assert not opened("mmdet-caffe", file=named, class_names=("a", "b", "c")).notes


def test_negative_variance_is_refused() -> None:
    name = "backbone.body.layer2.0.bn1.running_var"
    tensors = {**tensors_of("torchvision"), name: -tensors_of("torchvision")[name]}
    with pytest.raises(InvalidInput, match=rf"{name} has a variance of -"):
        opened("torchvision", file=replace(file_of("torchvision"), tensors=tensors))


def test_notes_of_the_file_come_first() -> None:
    assert opened("detectron2", file=replace(file_of("detectron2"), notes=("a prefix was removed",))).notes == (
        "a prefix was removed",
    )


def test_setting_of_detection_in_a_config_is_noted_with_its_field(tmp_path: Path) -> None:
    path = config_file(tmp_path, DETECTRON2)
    assert opened("detectron2", config=path).notes == (
        f"checkpointConfig: {path} has 900 where maskrcnnConfig.testRpnPostNmsTopn is 1000 by default; set it to "
        "detect as the original does",
    )


def test_counters_are_ignored_with_the_reason() -> None:
    ignored = plain("mmdet-pytorch").ignored
    assert ignored["backbone.bn1.num_batches_tracked"] == "a counter of updates"


def test_detector_without_a_mask_head_lacks_its_variables() -> None:
    file = WeightFile("m.pth", Form.TORCH_ZIP, stand_ins.detector("torchvision", masks=False))
    detector = opened("torchvision", file=file)
    assert not detector.has_masks
    assert not any(name.startswith("mask") for name in detector.values)


def test_caffe2_backbone_is_that_of_detectron2() -> None:
    tensors = stand_ins.tensors_of(key_lists.caffe2_resnet(), pixels=True)
    backbone = open_caffe2_backbone(WeightFile("R-50.pkl", Form.PICKLE, tensors))
    assert (backbone.nlayers, backbone.arch, backbone.epsilon) == (50, "resnet_v1", 1e-5)
    assert np.all(backbone.values["bn_conv1/moving_variance"] == 1)
    np.testing.assert_array_equal(backbone.values["bn_conv1/gamma"], tensors["res_conv1_bn_s"])
    expected = tensors["conv1_w"].transpose(2, 3, 1, 0)[:, :, ::-1] * NETWORK_DEVIATION
    np.testing.assert_allclose(backbone.values["conv1/kernel"], expected, rtol=1e-6)


def test_options_are_those_of_the_spec() -> None:
    fields = {
        "checkpointStyle": "detectron2",
        "checkpointConfig": "c.yaml",
        "checkpointBnEpsilon": 0.0,
        "checkpointClassNames": ["a"],
    }
    required = {"initLearningRate": 0.01, "totalSteps": 1, "dataConfig": {"imageSize": [128, 128], "numClasses": 2}}
    options = DetectorOptions.from_spec(parse_spec({**required, **fields}))
    assert options == DetectorOptions("detectron2", Path("c.yaml"), 0.0, ("a",))
    assert options.given == tuple(fields)
    assert DetectorOptions.from_spec(parse_spec(required)).given == ()
