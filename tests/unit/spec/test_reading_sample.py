"""The sample specification of the documentation is read unchanged and has its values."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from maskrcnn_trainer.spec import ExperimentSpec, import_spec, load_spec, parse_spec, plan_steps, read_spec

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "seed" / "maskrcnn_train_resnet50.txt"
TOP = {
    "seed": 123,
    "use_amp": False,
    "warmup_steps": 0,
    "checkpoint": "/workspace/tao-experiments/maskrcnn/pretrained_resnet50/tlt_instance_segmentation_vresnet50/"
    "resnet50.hdf5",
    "learning_rate_steps": (60000, 80000, 100000),
    "learning_rate_decay_levels": (0.1, 0.02, 0.002),
    "total_steps": 120000,
    "train_batch_size": 2,
    "eval_batch_size": 4,
    "num_steps_per_eval": 10000,
    "momentum": 0.9,
    "l2_weight_decay": 0.0001,
    "l1_weight_decay": 0.0,
    "warmup_learning_rate": 0.0001,
    "init_learning_rate": 0.02,
    "num_examples_per_epoch": 14700,
    "pruned_model_path": None,
    "num_epochs": None,
}
DATA = {
    "image_size": (832, 1344),
    "augment_input_data": True,
    "eval_samples": 500,
    "training_file_pattern": "/workspace/tao-experiments/data/train*.tfrecord",
    "validation_file_pattern": "/workspace/tao-experiments/data/val*.tfrecord",
    "val_json_file": "/workspace/tao-experiments/data/annotations/instances_val2017.json",
    "num_classes": 91,
    "skip_crowd_during_training": True,
    "max_num_instances": 200,
}
MODEL = {
    "nlayers": 50,
    "arch": "resnet",
    "freeze_bn": True,
    "freeze_blocks": (0, 1),
    "gt_mask_size": 112,
    "rpn_positive_overlap": 0.7,
    "rpn_negative_overlap": 0.3,
    "rpn_batch_size_per_im": 256,
    "rpn_fg_fraction": 0.5,
    "rpn_min_size": 0.0,
    "batch_size_per_im": 512,
    "fg_fraction": 0.25,
    "fg_thresh": 0.5,
    "bg_thresh_hi": 0.5,
    "bg_thresh_lo": 0.0,
    "fast_rcnn_mlp_head_dim": 1024,
    "bbox_reg_weights": (10.0, 10.0, 5.0, 5.0),
    "include_mask": True,
    "mrcnn_resolution": 28,
    "train_rpn_pre_nms_topn": 2000,
    "train_rpn_post_nms_topn": 1000,
    "train_rpn_nms_threshold": 0.7,
    "test_detections_per_image": 100,
    "test_nms": 0.5,
    "test_rpn_pre_nms_topn": 1000,
    "test_rpn_post_nms_topn": 1000,
    "test_rpn_nms_threshold": 0.7,
    "min_level": 2,
    "max_level": 6,
    "num_scales": 1,
    "aspect_ratios": ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4)),
    "anchor_scale": 8,
    "rpn_box_loss_weight": 1.0,
    "fast_rcnn_box_loss_weight": 1.0,
    "mrcnn_weight_loss_mask": 1.0,
}


def assert_sample(spec: ExperimentSpec) -> None:
    assert {name: getattr(spec, name) for name in TOP} == TOP
    assert {name: getattr(spec.data_config, name) for name in DATA} == DATA
    assert {name: getattr(spec.maskrcnn_config, name) for name in MODEL} == MODEL


def test_the_sample_loads_word_for_word(sample: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "maskrcnn_train_resnet50.txt"
    path.write_text(sample)
    with caplog.at_level(logging.WARNING):
        spec = load_spec(path)
    assert_sample(spec)
    assert not caplog.records
    assert plan_steps(spec, num_records=117266, ranks=8).steps_per_epoch == 7350


def test_the_sample_fills_in_only_what_it_leaves_out(sample: str) -> None:
    filled = dict(read_spec(sample).filled)
    assert filled == {
        "global_gradient_clip_ratio": 0.0,
        "visualize_images_summary": False,
        "logging_frequency": 10,
        "report_frequency": 0,
        "data_config.prefetch_buffer_size": 0,
        "data_config.shuffle_buffer_size": 4096,
        "data_config.n_workers": 16,
    }


def test_the_sample_becomes_a_manifest_with_the_same_values(sample: str, tmp_path: Path) -> None:
    path = tmp_path / "maskrcnn_train_resnet50.txt"
    path.write_text(sample)
    imported = import_spec(path)
    assert imported.name == "maskrcnn-train-resnet50"
    assert_sample(read_spec(imported.manifest).spec)


def test_every_field_of_the_sample_is_known_to_this_test(sample: str) -> None:
    names = {line.split(":")[0].strip() for line in sample.splitlines() if ":" in line and not line.startswith("#")}
    assert names - {*TOP, *DATA, *MODEL} == {"test_rpn_nms_thresh"}


def test_absent_fields_have_the_values_of_the_sample_except_those_that_name_files_or_lengths() -> None:
    spec = parse_spec(
        {"initLearningRate": 0.02, "numEpochs": 1, "dataConfig": {"imageSize": [832, 1344], "numClasses": 91}}
    )
    different = {"checkpoint", "total_steps", "num_epochs", "num_steps_per_eval", "num_examples_per_epoch"}
    different |= {"learning_rate_steps", "learning_rate_decay_levels"}
    for name in TOP.keys() - different:
        assert getattr(spec, name) == TOP[name], name
    for name in DATA.keys() - {"eval_samples", "training_file_pattern", "validation_file_pattern", "val_json_file"}:
        assert getattr(spec.data_config, name) == DATA[name], name
    assert {name: getattr(spec.maskrcnn_config, name) for name in MODEL} == MODEL
    assert (spec.checkpoint, spec.total_steps, spec.num_steps_per_eval, spec.num_examples_per_epoch) == (None,) * 4
    assert spec.learning_rate_steps == spec.learning_rate_decay_levels == ()
    assert spec.skip_checkpoint_variables is None
    assert (spec.deterministic, spec.scale_learning_rate, spec.keep_checkpoints) == (False, False, 5)
    assert (spec.tf32, spec.xla, spec.maskrcnn_config.sync_bn) == (True, False, True)
    assert (spec.logging_frequency, spec.report_frequency, spec.global_gradient_clip_ratio) == (10, 0, 0)
    assert spec.visualize_images_summary is False
    data = spec.data_config
    assert (data.eval_samples, data.prefetch_buffer_size, data.shuffle_buffer_size, data.n_workers) == (0, 0, 4096, 16)
    assert data.augmentation is None


def test_example_of_the_repository_is_the_sample_word_for_word(sample: str) -> None:
    assert EXAMPLE.read_text() == sample
