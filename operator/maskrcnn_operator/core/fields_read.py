"""Fields of the merged experiment that can change the result of each task. The fingerprint reads this.

Names are those of Python; ``data_config.x`` and ``maskrcnn_config.x`` for the two parts. A field that no table names
(batch size of evaluation, workers, logging, kept checkpoints, ...) changes how a task runs, not what it gives.

The tables are those of version 2. Version 1 differs from them by :func:`fields_read_by_version_1`, and never changes.
"""

from __future__ import annotations

from maskrcnn_operator.api.experiment import Step
from maskrcnn_operator.api.tasks import Export, Train
from maskrcnn_trainer.spec.experiment import ExperimentSpec
from maskrcnn_trainer.spec.task_name import TaskName

Fields = frozenset[str]


def _fields(text: str, prefix: str = "") -> Fields:
    return frozenset(prefix + name for name in text.split())


STRUCTURE = _fields("data_config.num_classes") | _fields(
    "nlayers arch min_level max_level num_scales aspect_ratios anchor_scale fast_rcnn_mlp_head_dim mrcnn_resolution "
    "bbox_reg_weights include_mask",
    "maskrcnn_config.",
)
"""Fields of the model's structure: a model file knows them already, and a spec that contradicts it is refused."""

DETECTION = _fields(
    "rpn_min_size test_detections_per_image test_nms test_rpn_pre_nms_topn test_rpn_post_nms_topn "
    "test_rpn_nms_threshold",
    "maskrcnn_config.",
)
"""Fields that decide what a trained model detects."""

TRAINING = (
    STRUCTURE
    | _fields(
        "seed use_amp warmup_steps warmup_learning_rate init_learning_rate learning_rate_steps "
        "learning_rate_decay_levels scale_learning_rate total_steps num_epochs num_examples_per_epoch train_batch_size "
        "momentum l1_weight_decay l2_weight_decay global_gradient_clip_ratio checkpoint pruned_model_path "
        "skip_checkpoint_variables deterministic"
    )
    # the class ids of val_json_file are part of the class map that the model is built with
    | _fields(
        "image_size augment_input_data augmentation training_file_pattern val_json_file skip_crowd_during_training "
        "max_num_instances",
        "data_config.",
    )
    | _fields(
        "freeze_bn freeze_blocks gt_mask_size rpn_positive_overlap rpn_negative_overlap rpn_batch_size_per_im "
        "rpn_fg_fraction rpn_min_size batch_size_per_im fg_fraction fg_thresh bg_thresh_hi bg_thresh_lo "
        "train_rpn_pre_nms_topn train_rpn_post_nms_topn train_rpn_nms_threshold rpn_box_loss_weight "
        "fast_rcnn_box_loss_weight mrcnn_weight_loss_mask",
        "maskrcnn_config.",
    )
)

VALIDATION = DETECTION | _fields("eval_samples validation_file_pattern val_json_file", "data_config.")
"""Fields that decide what an evaluation finds."""

BEST_CHECKPOINT = VALIDATION | _fields("num_steps_per_eval num_examples_per_epoch")
"""What decides, beside the training, which checkpoint is the best by mask AP."""

EVALUATION = STRUCTURE | VALIDATION | _fields("use_amp") | _fields("data_config.image_size")
INFERENCE = STRUCTURE | DETECTION | _fields("use_amp") | _fields("data_config.image_size")
EXPORT = STRUCTURE | DETECTION | _fields("data_config.image_size")
CALIBRATION = _fields("seed")
"""Fields that decide which images an INT8 calibration draws, from a directory or from records."""
CALIBRATION_ON_RECORDS = CALIBRATION | _fields("training_file_pattern", "data_config.")

SHUFFLING = _fields("shuffle_buffer_size", "data_config.")
"""Fields that version 1 also has of a training."""
AUGMENTATION = _fields("augment_input_data augmentation", "data_config.")
"""Fields that version 1 also has, with those of SHUFFLING, of a calibration on records, which reads none of them."""


def fields_read(step: Step, spec: ExperimentSpec | None) -> Fields:
    """Return the fields of the merged spec on which a step's result depends; none for a task that reads no spec."""
    task = step.task
    if spec is None:
        return frozenset()
    if isinstance(task, Train):
        fields = TRAINING | (BEST_CHECKPOINT if task.output == "best" else frozenset())
        return fields - _without_effect(spec, best=task.output == "best")
    if isinstance(task, Export):
        on_images = CALIBRATION if calibrates_on_images(step) else frozenset()
        return EXPORT | (CALIBRATION_ON_RECORDS if calibrates_on_records(step) else on_images)
    return {TaskName.EVALUATE: EVALUATION, TaskName.INFERENCE: INFERENCE}.get(step.task_name, frozenset())


def fields_read_by_version_1(step: Step, spec: ExperimentSpec | None) -> Fields:
    """Return the fields that version 1 of the fingerprint has of a step."""
    fields = fields_read(step, spec)
    if isinstance(step.task, Train):
        return fields | SHUFFLING
    if calibrates_on_images(step):
        return fields - CALIBRATION
    return fields | SHUFFLING | AUGMENTATION if calibrates_on_records(step) else fields


def calibrates_on_images(step: Step) -> bool:
    """Return whether a step is an INT8 export that draws its images from a directory."""
    task = step.task
    return isinstance(task, Export) and task.data_type == "int8" and task.calibration.image_dir is not None


def calibrates_on_records(step: Step) -> bool:
    """Return whether a step is an INT8 export that draws its images from the records of the training."""
    task = step.task
    return isinstance(task, Export) and task.data_type == "int8" and task.calibration.image_dir is None


def _without_effect(spec: ExperimentSpec, *, best: bool) -> Fields:
    """Fields that other fields switch off: numEpochs wins over totalSteps, warm-up of 0 steps has no rate, ..."""
    off: set[str] = set()
    if spec.num_epochs:
        off.add("total_steps")
    elif not best or spec.num_steps_per_eval:
        off.add("num_examples_per_epoch")
    if not spec.warmup_steps:
        off.add("warmup_learning_rate")
    if spec.pruned_model_path:
        off.add("checkpoint")
    return frozenset(off)
