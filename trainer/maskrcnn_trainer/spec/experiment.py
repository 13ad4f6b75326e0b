"""``ExperimentSpec``: the complete specification of an experiment."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from maskrcnn_trainer.spec.base import (
    UINT32_MAX,
    CheckpointStyle,
    ClassMapping,
    ClassNames,
    DecayLevels,
    FrozenMapping,
    SpecModel,
    Steps,
    Tags,
)
from maskrcnn_trainer.spec.data_config import DataConfig
from maskrcnn_trainer.spec.maskrcnn_config import MaskRCNNConfig
from maskrcnn_trainer.spec.named_files import NAMES_FILES
from maskrcnn_trainer.spec.purposes import HOW_IT_RUNS, Purpose, ReadFor

WITHOUT_RULES = {"rules": False}
"""Validation context in which the rules between fields aren't checked; the caller checks them."""

CHECKPOINT_OPTIONS = (
    "checkpoint_style",
    "checkpoint_config",
    "checkpoint_bn_epsilon",
    "checkpoint_class_names",
    "class_mapping",
)
"""Fields of the spec that specify how ``checkpoint`` is read, by Python name; without it they have no effect."""


class WandbConfig(SpecModel):
    """Weights & Biases settings of TAO Toolkit; accepted, without effect."""

    project: str = Field(default="", max_length=1024, description="Project name; without effect.")
    entity: str = Field(default="", max_length=1024, description="Entity name; without effect.")
    name: str = Field(default="", max_length=1024, description="Run name; without effect.")
    notes: str = Field(default="", max_length=65536, description="Notes; without effect.")
    tags: Tags = Field(default=(), description="Tags; without effect.")


class ClearmlConfig(SpecModel):
    """ClearML settings of TAO Toolkit; accepted, without effect."""

    project: str = Field(default="", max_length=1024, description="Project name; without effect.")
    task: str = Field(default="", max_length=1024, description="Task name; without effect.")
    tags: Tags = Field(default=(), description="Tags; without effect.")


class ExperimentSpec(SpecModel):
    """An experiment: schedule, optimizer, files, data (``dataConfig``), and model (``maskrcnnConfig``)."""

    seed: Annotated[int, ReadFor(Purpose.TRAINING, Purpose.CALIBRATION)] = Field(
        default=123,
        ge=0,
        le=UINT32_MAX,
        description="Seed for all randomness: initial weights, order of the data, augmentation, sampling.",
    )
    use_amp: Annotated[bool, ReadFor(Purpose.PRECISION)] = Field(
        default=False,
        description="Whether to train with automatic mixed precision: float16 on a GPU, bfloat16 on a CPU that has it.",
    )
    tf32: Annotated[bool, ReadFor(Purpose.PRECISION)] = Field(
        default=True,
        description="Whether a GPU of compute capability 8.0 (Ampere) or later multiplies float32 values in TF32, with "
        "10 bits of fraction: faster, but results differ by about 0.1%. false: it multiplies in float32, as all other "
        "devices do.",
    )
    xla: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=False,
        description="Whether XLA compiles the forward and backward pass of a training step, for GPUs. The first step "
        "then takes minutes. Evaluation and inference aren't compiled. With several processes it needs "
        "maskrcnnConfig.freezeBn true or syncBn false.",
    )
    warmup_steps: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=0,
        ge=0,
        le=UINT32_MAX,
        description="Number of steps over which the learning rate rises from warmupLearningRate to initLearningRate. "
        "0: no warm-up.",
    )
    warmup_learning_rate: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.0001, ge=0, le=100, description="Learning rate at the first step of the warm-up."
    )
    init_learning_rate: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        gt=0,
        le=100,
        description="Learning rate after the warm-up, before the first decay. 0.02 is usual for 16 images per step.",
    )
    learning_rate_steps: Annotated[Steps, ReadFor(Purpose.TRAINING)] = Field(
        default=(),
        description="Steps at which the learning rate changes, in increasing order; one for each of "
        "learningRateDecayLevels.",
    )
    learning_rate_decay_levels: Annotated[DecayLevels, ReadFor(Purpose.TRAINING)] = Field(
        default=(),
        description="Factors on initLearningRate, one for each of learningRateSteps, from that step on. They aren't "
        "cumulative: [0.1, 0.01] divides initLearningRate by 10, then by 100.",
    )
    scale_learning_rate: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=False,
        description="Whether initLearningRate and warmupLearningRate are multiplied by the number of processes.",
    )
    total_steps: Annotated[int | None, ReadFor(Purpose.TRAINING)] = Field(
        default=None,
        ge=0,
        le=UINT32_MAX,
        description="Number of training steps. This or numEpochs is required; numEpochs is used when both are set. "
        "0 or absent: not set.",
    )
    num_epochs: Annotated[int | None, ReadFor(Purpose.TRAINING)] = Field(
        default=None,
        ge=0,
        le=UINT32_MAX,
        description="Number of epochs to train; totalSteps becomes numEpochs * numExamplesPerEpoch / trainBatchSize, "
        "rounded up. 0 or absent: not set.",
    )
    num_examples_per_epoch: Annotated[int | None, ReadFor(Purpose.TRAINING, Purpose.BEST_CHECKPOINT)] = Field(
        default=None,
        ge=0,
        le=UINT32_MAX,
        description="Number of training images divided by the number of GPUs. 0 or absent: counted.",
    )
    train_batch_size: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=2,
        ge=1,
        le=1024,
        description="Images per training step on each GPU. Lower it when memory runs out.",
    )
    eval_batch_size: Annotated[int, HOW_IT_RUNS] = Field(
        default=4, ge=1, le=1024, description="Images per batch on each GPU in evaluation and inference."
    )
    num_steps_per_eval: Annotated[int | None, ReadFor(Purpose.BEST_CHECKPOINT)] = Field(
        default=None,
        ge=0,
        le=UINT32_MAX,
        description="Number of steps after which a checkpoint is saved and evaluated. 0 or absent: one epoch.",
    )
    momentum: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.9, ge=0, lt=1, description="Momentum of the SGD optimizer."
    )
    l1_weight_decay: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.0,
        ge=0,
        le=1,
        description="L1 weight decay of kernels: half of it times the sum of absolute values is added to the loss. "
        "Not applied when a pruned model is retrained.",
    )
    l2_weight_decay: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.0001,
        ge=0,
        le=1,
        description="L2 weight decay of kernels: half of it times the sum of squares is added to the loss.",
    )
    global_gradient_clip_ratio: Annotated[float, ReadFor(Purpose.TRAINING)] = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="Maximum global norm of the gradients; larger gradients are scaled down to it. 0: no clipping.",
    )
    checkpoint: Annotated[str | None, ReadFor(Purpose.TRAINING), NAMES_FILES] = Field(
        default=None,
        max_length=4096,
        description="Pretrained weights of a backbone or a whole detector: a .hdf5, .safetensors, .npz, .pth, .pkl, "
        ".tlt, or .ckpt file. Absent: random.",
    )
    checkpoint_style: Annotated[CheckpointStyle | None, ReadFor(Purpose.TRAINING)] = Field(
        default=None,
        description="Project and variant of a detector in checkpoint that torchvision, Detectron2, or MMDetection "
        "made. Required for such a file unless the file or checkpointConfig names what its weights don't show.",
    )
    checkpoint_config: Annotated[str | None, ReadFor(Purpose.TRAINING), NAMES_FILES] = Field(
        default=None,
        max_length=4096,
        description="The detector's own config: Detectron2's YAML, or MMDetection's config or .pth file. It is read, "
        "never executed.",
    )
    checkpoint_bn_epsilon: Annotated[float | None, ReadFor(Purpose.TRAINING)] = Field(
        default=None,
        ge=0,
        le=1,
        description="Number that the detector's batch normalization adds to the variance. Absent: that of "
        "checkpointStyle. torchvision's own COCO weights (COCO_V1) need 0, which its loader sets; others have 1e-5.",
    )
    checkpoint_class_names: Annotated[ClassNames, ReadFor(Purpose.TRAINING)] = Field(
        default=(),
        description="Names of the detector's classes without the background, in the order of its rows, with N/A for "
        "rows without a class. Absent: those in the file, else COCO's for 80 classes, or 90 of torchvision.",
    )
    class_mapping: Annotated[ClassMapping, ReadFor(Purpose.TRAINING)] = Field(
        default_factory=FrozenMapping,
        description="Names in the data by the checkpoint's names of the same classes, such as person: pedestrian. "
        "Weights of classes with equal names are kept without it.",
    )
    pruned_model_path: Annotated[str | None, ReadFor(Purpose.TRAINING), NAMES_FILES] = Field(
        default=None,
        max_length=4096,
        description="Pruned model (.tlt) to retrain; it replaces checkpoint and determines the structure.",
    )
    skip_checkpoint_variables: Annotated[str | None, ReadFor(Purpose.TRAINING)] = Field(
        default=None,
        max_length=4096,
        description="Regular expression (Python's re.search); weights whose name or path in the network matches are "
        'not loaded from the checkpoint. "head" reinitializes all prediction heads, which is useful for transfer '
        "learning.",
    )
    keep_checkpoints: Annotated[int, HOW_IT_RUNS] = Field(
        default=5,
        ge=0,
        le=10000,
        description="Number of newest checkpoints to keep in addition to the best one. 0: all of them.",
    )
    deterministic: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=False,
        description="Whether two runs on equal machines with the same number of threads give bit-identical weights. "
        "This is slower: on a GPU only deterministic kernels run, and gradients of crops are sorted before they are "
        "added.",
    )
    visualize_images_summary: Annotated[bool, HOW_IT_RUNS] = Field(
        default=False,
        description="Whether 10 validation images with their predicted boxes are written for TensorBoard at every "
        "evaluation.",
    )
    logging_frequency: Annotated[int, HOW_IT_RUNS] = Field(
        default=10, ge=1, le=1000, description="Number of steps between two reports of losses and speed."
    )
    report_frequency: Annotated[int, HOW_IT_RUNS] = Field(
        default=0,
        ge=0,
        le=UINT32_MAX,
        description="Number of evaluation batches between two interim reports of metrics. 0: none.",
    )
    save_checkpoints_steps: Annotated[int | None, HOW_IT_RUNS] = Field(
        default=None,
        ge=0,
        le=UINT32_MAX,
        description="Accepted, without effect: numStepsPerEval determines when checkpoints are saved.",
    )
    wandb_config: Annotated[WandbConfig | None, HOW_IT_RUNS] = Field(
        default=None, description="Weights & Biases settings of TAO Toolkit; accepted, without effect."
    )
    clearml_config: Annotated[ClearmlConfig | None, HOW_IT_RUNS] = Field(
        default=None, description="ClearML settings of TAO Toolkit; accepted, without effect."
    )
    data_config: DataConfig = Field(description="Source of the data, and how an image becomes the network's input.")
    maskrcnn_config: MaskRCNNConfig = Field(
        default_factory=MaskRCNNConfig,
        description="Structure of the model, and the sampling and filtering of anchors, proposals, and detections.",
        json_schema_extra={"default": {}},
    )

    # 0 and "" mean "not set", as in TAO Toolkit, so that a step can unset what the experiment sets.
    @field_validator(
        "total_steps",
        "num_epochs",
        "num_examples_per_epoch",
        "num_steps_per_eval",
        "save_checkpoints_steps",
        mode="after",
    )
    @classmethod
    def _zero_is_absent(cls, value: int | None) -> int | None:
        return value or None

    @field_validator("checkpoint", "checkpoint_config", "pruned_model_path", "skip_checkpoint_variables", mode="after")
    @classmethod
    def _empty_is_absent(cls, value: str | None) -> str | None:
        return value or None

    @model_validator(mode="after")
    def _rules_hold(self, info: ValidationInfo) -> Self:
        from maskrcnn_trainer.spec.rules import check_rules

        if info.context is not None and info.context.get("rules") is False:
            return self
        problems = check_rules(self)
        if problems:
            raise ValueError("; ".join(str(problem) for problem in problems))
        return self
