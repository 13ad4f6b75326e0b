"""Fields of the spec that decide the result of a step, compared with the purposes in their declarations."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.core.fields_read import fields_read
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec
from maskrcnn_trainer.spec.base import SpecModel
from maskrcnn_trainer.spec.purposes import HOW_IT_RUNS, Purpose, ReadFor, fields_for, fields_without_purpose


def fields(text: str, part: str = "") -> frozenset[str]:
    return frozenset(part + name for name in text.split())


STRUCTURE = fields("data_config.num_classes") | fields(
    "nlayers arch min_level max_level num_scales aspect_ratios anchor_scale fast_rcnn_mlp_head_dim mrcnn_resolution "
    "bbox_reg_weights include_mask anchor_offset anchor_rounding roi_max_level roi_aligned roi_sampling_ratio",
    "maskrcnn_config.",
)
DETECTION = fields(
    "rpn_min_size test_detections_per_image test_nms test_rpn_pre_nms_topn test_rpn_post_nms_topn "
    "test_rpn_nms_threshold test_score_threshold test_candidate_limit",
    "maskrcnn_config.",
)
TRAINING = (
    STRUCTURE
    | fields(
        "seed use_amp tf32 xla warmup_steps warmup_learning_rate init_learning_rate learning_rate_steps "
        "learning_rate_decay_levels scale_learning_rate total_steps num_epochs num_examples_per_epoch train_batch_size "
        "momentum l1_weight_decay l2_weight_decay global_gradient_clip_ratio checkpoint pruned_model_path "
        "skip_checkpoint_variables deterministic checkpoint_style checkpoint_config checkpoint_bn_epsilon "
        "checkpoint_class_names class_mapping"
    )
    | fields(
        "image_size augment_input_data augmentation training_file_pattern val_json_file skip_crowd_during_training "
        "max_num_instances",
        "data_config.",
    )
    | fields(
        "freeze_bn freeze_bn_affine sync_bn freeze_blocks gt_mask_size rpn_positive_overlap rpn_negative_overlap "
        "rpn_batch_size_per_im rpn_fg_fraction rpn_min_size batch_size_per_im fg_fraction fg_thresh bg_thresh_hi "
        "bg_thresh_lo train_rpn_pre_nms_topn train_rpn_post_nms_topn train_rpn_nms_threshold rpn_box_loss_weight "
        "fast_rcnn_box_loss_weight mrcnn_weight_loss_mask",
        "maskrcnn_config.",
    )
)
VALIDATION = DETECTION | fields("eval_samples validation_file_pattern val_json_file", "data_config.")
BEST_CHECKPOINT = VALIDATION | fields("num_steps_per_eval num_examples_per_epoch")
PRECISION, INPUT_SIZE = fields("use_amp tf32"), fields("data_config.image_size")
EXPORT = STRUCTURE | DETECTION | INPUT_SIZE
HOW_TASKS_RUN = fields(
    "eval_batch_size keep_checkpoints logging_frequency report_frequency visualize_images_summary "
    "save_checkpoints_steps wandb_config clearml_config"
) | fields("n_workers prefetch_buffer_size shuffle_buffer_size", "data_config.")

INT8: dict[str, Any] = {"dataType": "int8"}
# none of its fields disables another
SPEC: dict[str, Any] = {
    "totalSteps": 10,
    "numExamplesPerEpoch": 4,
    "warmupSteps": 1,
    "initLearningRate": 0.01,
    "dataConfig": {"imageSize": [128, 128], "numClasses": 3},
}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"train": {"output": "last"}}, TRAINING - {"num_examples_per_epoch"}),
        ({"train": {"output": "best"}}, TRAINING | BEST_CHECKPOINT),
        ({"evaluate": {}}, STRUCTURE | VALIDATION | PRECISION | INPUT_SIZE),
        ({"inference": {"imageDir": "/workspace/i"}}, STRUCTURE | DETECTION | PRECISION | INPUT_SIZE),
        ({"export": {}}, EXPORT),
        ({"export": {**INT8, "calibration": {"imageDir": "/workspace/i"}}}, EXPORT | {"seed"}),
        ({"export": INT8}, EXPORT | {"seed", "data_config.training_file_pattern"}),
        ({"prune": {}}, frozenset()),
        ({"datasetConvert": {"imageDir": "/workspace/i", "annotationsFile": "/workspace/a.json"}}, frozenset()),
    ],
)
def test_each_task_depends_on_the_fields_that_it_reads(task: dict[str, Any], expected: frozenset[str]) -> None:
    step = Step.model_validate({"name": "step", **task})
    assert fields_read(step, parse_spec(SPEC)) == expected


def test_options_of_a_checkpoint_are_not_read_with_a_pruned_model() -> None:
    given = {"checkpoint": "/workspace/c.pkl", "checkpointConfig": "/workspace/c.yaml", "prunedModelPath": "/m.tlt"}
    step = Step.model_validate({"name": "step", "train": {"output": "last"}})
    assert fields_read(step, parse_spec(SPEC)) - fields_read(step, parse_spec(SPEC | given)) == fields(
        "checkpoint checkpoint_style checkpoint_config checkpoint_bn_epsilon checkpoint_class_names class_mapping"
    )


def test_every_other_field_changes_how_a_task_runs() -> None:
    decides = fields_for(ExperimentSpec, frozenset(Purpose))
    assert fields_without_purpose(ExperimentSpec) == HOW_TASKS_RUN
    assert decides == TRAINING | BEST_CHECKPOINT
    assert decides.isdisjoint(HOW_TASKS_RUN)


def test_a_field_without_a_purpose_is_named() -> None:
    class Part(SpecModel):
        size: Annotated[int, ReadFor(Purpose.STRUCTURE)] = 1
        forgotten: int = Field(default=2, ge=0)

    class Whole(SpecModel):
        workers: Annotated[int, HOW_IT_RUNS] = 1
        part: Part

    with pytest.raises(TypeError, match=r"Part\.forgotten"):
        fields_for(Whole, frozenset({Purpose.STRUCTURE}))
