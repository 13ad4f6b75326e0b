"""Settings in the model's own config: Detectron2's YAML, and MMDetection's Python source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.weights.files import state_dict, tensor, write_torch_zip
from tests.unit.weights.key_lists import weight_file

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.input_statistics import InputNormalization
from maskrcnn_trainer.weights.model_config import ModelConfig, config_in, mmdetection_config, read_model_config
from maskrcnn_trainer.weights.project import Project

DEVIATED = InputNormalization("RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
PIXELS = InputNormalization("BGR", (103.53, 116.28, 123.675), (1.0, 1.0, 1.0))

DETECTRON2 = """
MODEL:
  PIXEL_MEAN: [103.53, 116.28, 123.675]
  PIXEL_STD: [1.0, 1.0, 1.0]
  BACKBONE: {FREEZE_AT: 2}
  RESNETS: {DEPTH: 50, STRIDE_IN_1X1: true, NORM: FrozenBN}
  ANCHOR_GENERATOR:
    SIZES: [[32], [64], [128], [256], [512]]
    ASPECT_RATIOS: [[0.5, 1.0, 2.0]]
    OFFSET: 0.0
  RPN: {NMS_THRESH: 0.7, PRE_NMS_TOPK_TEST: 1000, POST_NMS_TOPK_TEST: 900}
  ROI_HEADS: {SCORE_THRESH_TEST: 0.05, NMS_THRESH_TEST: 0.5}
  ROI_BOX_HEAD: {POOLER_TYPE: ROIAlignV2, POOLER_SAMPLING_RATIO: 0, BBOX_REG_WEIGHTS: "(10.0, 10.0, 5.0, 5.0)"}
  ROI_MASK_HEAD: {POOLER_TYPE: ROIAlignV2, POOLER_SAMPLING_RATIO: 0}
INPUT: {FORMAT: BGR}
TEST: {DETECTIONS_PER_IMAGE: 100}
"""

ROI_LAYER = "roi_layer=dict(type='RoIAlign', output_size={size}, sampling_ratio=2, aligned=False)"
MMDET_MODEL = f"""
model = dict(
    type='MaskRCNN',
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(depth=50, frozen_stages=1, norm_cfg=dict(type='BN', requires_grad=False), style='caffe'),
    rpn_head=dict(
        anchor_generator=dict(scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict({ROI_LAYER.format(size=7)}),
        bbox_head=dict(bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2])),
        mask_roi_extractor=dict({ROI_LAYER.format(size=14)})),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=900, nms=dict(type='nms', iou_threshold=0.7)),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)))
"""
MMDET_2 = """
model = dict(
    backbone=dict(type='ResNet', style='pytorch', norm_cfg=dict(type='BN', requires_grad=True)),
    roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(type='RoIAlign', sample_num=2))))
test_cfg = dict(rcnn=dict(score_thr=0.001))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
"""


def written(tmp_path: Path, text: str, name: str = "config.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_sampling_ratio_below_0_is_adaptive(tmp_path: Path) -> None:
    """Both projects use ratios above 0 alone as a number of samples."""
    path = written(tmp_path, DETECTRON2.replace("POOLER_SAMPLING_RATIO: 0", "POOLER_SAMPLING_RATIO: -1"))
    assert read_model_config(path).roi_align_sampling_ratio == 0
    text = MMDET_MODEL.replace("sampling_ratio=2", "sampling_ratio=-1")
    assert mmdetection_config(text, "config.py").roi_align_sampling_ratio == 0


def test_yaml_of_detectron2_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, DETECTRON2)
    assert read_model_config(path) == ModelConfig(
        source=f"checkpointConfig: {path}",
        project=Project.DETECTRON2,
        stride_on="1x1",
        input=PIXELS,
        bn_affine_trained=False,
        frozen_blocks=(0, 1),
        anchor_sides=(32, 64, 128, 256, 512),
        anchor_ratios=(0.5, 1, 2),
        anchor_offset=0,
        roi_align_aligned=True,
        roi_align_sampling_ratio=0,
        box_delta_weights=(10, 10, 5, 5),
        score_threshold=0.05,
        nms_threshold=0.5,
        detections_per_image=100,
        rpn_nms_threshold=0.7,
        rpn_pre_nms=1000,
        rpn_post_nms=900,
    )


def test_base_of_a_yaml_is_not_followed_and_a_note_states_it(tmp_path: Path) -> None:
    path = written(tmp_path, '_BASE_: "../Base-RCNN-FPN.yaml"\nMODEL: {RESNETS: {STRIDE_IN_1X1: false}}')
    written(tmp_path.parent, DETECTRON2, "Base-RCNN-FPN.yaml")
    config = read_model_config(path)
    assert (config.stride_on, config.input, config.score_threshold) == ("3x3", None, None)
    assert "_BASE_" in config.notes[0]
    assert "is not read: give the config.yaml that Detectron2 writes" in config.notes[0]


@pytest.mark.parametrize("name", ["config.py", "config", "config.txt"])
def test_config_of_mmdetection_is_read(tmp_path: Path, name: str) -> None:
    config = read_model_config(written(tmp_path, MMDET_MODEL, name))
    assert replace(config, source="") == ModelConfig(
        source="",
        project=Project.MMDETECTION,
        stride_on="1x1",
        input=PIXELS,
        bn_affine_trained=False,
        frozen_blocks=(0, 1),
        anchor_sides=(32, 64, 128, 256, 512),
        anchor_ratios=(0.5, 1, 2),
        roi_align_aligned=False,
        roi_align_sampling_ratio=2,
        box_delta_weights=(10, 10, 5, 5),
        score_threshold=0.05,
        nms_threshold=0.5,
        detections_per_image=100,
        rpn_nms_threshold=0.7,
        rpn_pre_nms=1000,
        rpn_post_nms=900,
    )


def test_config_of_mmdetection_2_is_read() -> None:
    config = mmdetection_config(MMDET_2, "meta")
    assert (config.stride_on, config.input) == ("3x3", DEVIATED)
    assert (config.bn_affine_trained, config.roi_align_sampling_ratio) == (True, 2)
    assert (config.score_threshold, config.roi_align_aligned) == (0.001, None)


def test_base_of_mmdetection_is_not_followed_and_a_note_states_it() -> None:
    config = mmdetection_config("_base_ = './base.py'\nmodel = dict(backbone=dict(style='caffe'))", "config.py")
    assert config.stride_on == "1x1"
    assert config.notes == (
        'config.py: _base_ ("./base.py") is not read: give the config with all values, such as the one that '
        "MMDetection writes to its work_dir",
    )


NAMES = ("person", "car")


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"cfg": MMDET_MODEL, "dataset_meta": {"classes": NAMES, "palette": [(1, 2, 3)] * 2}}, NAMES),
        ({"cfg": MMDET_MODEL, "dataset_meta": {"CLASSES": list(NAMES)}}, NAMES),
        ({"config": MMDET_MODEL, "CLASSES": NAMES, "mmdet_version": "2.28.0"}, NAMES),
        ({"cfg": MMDET_MODEL + "\nmetainfo = dict(classes=('person', 'car'))"}, NAMES),
        ({"cfg": MMDET_MODEL, "dataset_meta": {"classes": [1, 2]}}, None),
        ({"cfg": MMDET_MODEL, "dataset_meta": object(), "CLASSES": object()}, None),
        ({"cfg": MMDET_MODEL, "CLASSES": ["a"] * 100_001}, None),
        ({"cfg": MMDET_MODEL, "CLASSES": ["a" * 201]}, None),
        ({"cfg": MMDET_MODEL, "CLASSES": "balloon"}, ("balloon",)),
    ],
)
def test_meta_of_a_checkpoint_has_the_config_and_the_class_names(meta: Any, names: tuple[str, ...] | None) -> None:
    config = config_in(weight_file({}, meta=meta))
    assert config is not None
    assert (config.stride_on, config.class_names) == ("1x1", names)
    assert config.source == "checkpoint: model.pth: meta"


@pytest.mark.parametrize("meta", [None, "text", object(), {}, {"cfg": object()}, {"epoch": 12}])
def test_file_without_a_config_in_meta_has_none(meta: Any) -> None:
    assert config_in(weight_file({}, meta=meta)) is None


def test_meta_of_a_file_of_weights_is_a_config(tmp_path: Path) -> None:
    path = tmp_path / "epoch_12.pth"
    weights = state_dict({"neck.fpn_convs.0.conv.bias": tensor(np.zeros(2, np.float32))})
    write_torch_zip(path, {"meta": {"cfg": MMDET_MODEL}, "state_dict": weights})
    config = read_model_config(path)
    assert (config.stride_on, config.source) == ("1x1", f"checkpointConfig: {path}: meta")
    write_torch_zip(path, weights)
    with pytest.raises(InvalidInput, match="is a file of weights without meta of MMDetection"):
        read_model_config(path)


def test_class_names_alone_are_a_config_that_leaves_the_rest_open() -> None:
    config = config_in(weight_file({}, meta={"CLASSES": NAMES}))
    assert config == ModelConfig("checkpoint: model.pth: meta", Project.MMDETECTION, class_names=NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "MODEL: {PIXEL_MEAN: text, PIXEL_STD: [1, 1], RESNETS: {STRIDE_IN_1X1: 1}}",
        "MODEL: {PIXEL_MEAN: [a, b, c], PIXEL_STD: [0, 0, 0], ROI_BOX_HEAD: {POOLER_TYPE: ROIPool}}",
        "MODEL: {PIXEL_MEAN: [1, 2, .nan], PIXEL_STD: [1, 1, 1], ROI_HEADS: [1]}\nINPUT: {FORMAT: BGR}",
        "MODEL: {PIXEL_MEAN: [1, 2, 3], ROI_HEADS: {SCORE_THRESH_TEST: 7}}\nINPUT: {FORMAT: RGB}",
        "MODEL: {PIXEL_MEAN: [1, 2, 3], PIXEL_STD: [1, 0, 1]}\nINPUT: {FORMAT: RGB}",
        "MODEL: {PIXEL_MEAN: [1, 2, 3], PIXEL_STD: [1, -1, 1]}\nINPUT: {FORMAT: BGR}",
        "MODEL: {PIXEL_MEAN: [1, 2, 3], PIXEL_STD: [1, 1, 1]}\nINPUT: {FORMAT: YUV}\nTEST: {DETECTIONS_PER_IMAGE: -9}",
    ],
)
def test_values_of_unexpected_types_are_unknown(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert read_model_config(path) == ModelConfig(f"checkpointConfig: {path}", Project.DETECTRON2)


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(backbone=dict(style=STYLE))",
        "model = dict(backbone=dict(style=f'{s}'), data_preprocessor=dict(**norm))",
        "model = dict(backbone=make(style='caffe'))",
        "model = dict(data_preprocessor=dict(mean=[x, y, z], std=STD, bgr_to_rgb=not True))",
    ],
)
def test_values_that_are_not_literals_are_unknown(text: str) -> None:
    assert mmdetection_config(text, "meta") == ModelConfig("meta", Project.MMDETECTION)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            DETECTRON2.replace("ROI_MASK_HEAD: {POOLER_TYPE: ROIAlignV2", "ROI_MASK_HEAD: {POOLER_TYPE: ROIAlign"),
            "POOLER_TYPE",
        ),
        (MMDET_MODEL.replace("output_size=14, sampling_ratio=2", "output_size=14, sampling_ratio=0"), "sampling_ratio"),
    ],
)
def test_poolers_that_differ_are_refused(tmp_path: Path, text: str, name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^checkpointConfig: .*: {name} is \w+ for boxes and \w+ for masks"):
        read_model_config(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is neither YAML of Detectron2 .* nor a config of MMDetection"),
        ("a: 1", "is neither YAML of Detectron2 "),
        ("MODEL: [", "is neither YAML of Detectron2 nor a config of MMDetection: .*line 1"),
        ("MODEL: &a [*a]", "contains itself"),
        ("MODEL: " + "[" * 5000, "is neither YAML of Detectron2 nor "),
        ("MODEL: !!python/object/apply:os.system [true]", "could not determine a constructor for the tag"),
        ("x = 1", "is neither YAML of Detectron2 "),
        ("#" * 2_000_000, "has 2,000,000 characters; a model's config has at most 1,048,576"),
    ],
    ids=range(8),
)
def test_other_and_hostile_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^checkpointConfig: .*{message}"):
        read_model_config(written(tmp_path, text))


@pytest.mark.parametrize("text", ["model = dict(", "x = " + "-" * 100_000 + "1", "#" * 2_000_000])
def test_text_in_meta_that_cannot_be_parsed_leaves_everything_open_with_a_note(text: str) -> None:
    config = config_in(weight_file({}, meta={"cfg": text, "CLASSES": NAMES}))
    assert config is not None
    assert replace(config, notes=()) == ModelConfig(config.source, Project.MMDETECTION, class_names=NAMES)
    assert config.notes[0].startswith("checkpoint: model.pth: meta: the config in it is not read: ")


def test_text_of_several_config_files_is_read_without_the_lines_with_their_paths() -> None:
    text = (
        f"/data/configs/_base_/model.py\n{MMDET_2}\n/data/configs/mask_rcnn.py\n_base_ = '_base_/model.py'\n"
        "model = dict(backbone=dict(style='caffe'))\nimg_norm_cfg = dict(\n"
        "    mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)\n"
    )
    config = config_in(weight_file({}, meta={"config": text}))
    assert config is not None
    assert (config.stride_on, config.input, config.bn_affine_trained) == ("1x1", PIXELS, None)


def test_config_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"^checkpointConfig: .*none\.yaml cannot be read: No such file"):
        read_model_config(tmp_path / "none.yaml")
