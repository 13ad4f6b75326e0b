"""Options of the tasks: the flags of the trainer's command line as fields."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from maskrcnn_operator.api.base import ABSOLUTE_PATH_PATTERN, ApiModel

AbsolutePath = Annotated[str, StringConstraints(pattern=ABSOLUTE_PATH_PATTERN, max_length=4096)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=63)]


class TaskOptions(ApiModel):
    """The options of a task, a field of a step."""


class DatasetConvert(TaskOptions):
    """Convert images with COCO annotations to TFRecords."""

    image_dir: AbsolutePath = Field(description="Directory of the raw images.")
    annotations_file: AbsolutePath = Field(description="COCO instances JSON. The ids under categories start from 1.")
    split: Literal["train", "val"] = Field(
        default="train",
        description="What the set is for: it fills in trainingFilePattern (train) or validationFilePattern and "
        "valJsonFile (val) where the experiment leaves them out. At most one step converts a val set.",
    )
    tag: Tag | None = Field(
        default=None,
        description="Tag of the converted TFRecords, their names' prefix; the name of the annotation file when absent.",
    )
    num_shards: int = Field(default=256, ge=1, le=99999, description="Number of shards (files) to write.")
    include_mask: bool = Field(
        default=True, description="Whether to include segmentation ground truth. Training needs it."
    )
    skip_bad_images: bool = Field(
        default=False,
        description="Whether to leave out images that are missing, damaged, or of another size than annotated, with "
        "their objects; TAG_warnings.json lists them. Otherwise one such image fails the step.",
    )
    crowd_as_objects: bool = Field(
        default=False,
        description="Whether annotations with iscrowd 1 are converted as single objects; training leaves crowds out.",
    )


class Train(TaskOptions):
    """Train, or retrain a pruned model."""

    output: Literal["last", "best"] = Field(
        default="last", description="Which model the step hands on: its last, or the best by mask AP."
    )


class Evaluate(TaskOptions):
    """Evaluate a model on the validation set with the COCO metrics."""


class Prune(TaskOptions):
    """Remove filters with small weights; the model must be retrained before it is used."""

    normalizer: Literal["max", "L2"] = Field(
        default="max",
        description="Divide each filter's norm by the largest of its layer (max) or by the layer's L2 norm.",
    )
    equalization_criterion: Literal["union", "intersection", "arithmetic_mean", "geometric_mean"] = Field(
        default="union", description="How the statistics of layers that feed the same addition are combined."
    )
    pruning_granularity: int = Field(
        default=8, ge=1, le=1024, description="Filters are kept in multiples of this number."
    )
    pruning_threshold: float = Field(
        default=0.1,
        ge=0.0,
        le=1_000_000,
        allow_inf_nan=False,
        description="Filters whose normalised norm is above it are kept.",
    )
    min_num_filters: int = Field(default=16, ge=1, le=65536, description="Filters kept in every layer at least.")
    excluded_layers: tuple[Annotated[str, StringConstraints(max_length=256)], ...] = Field(
        default=(), max_length=512, description="Names of layers that are not pruned."
    )


class Inference(TaskOptions):
    """Run a model on a directory of images: annotated images and COCO-format labels."""

    image_dir: AbsolutePath = Field(
        description="Directory of the images (jpg, jpeg, png, bmp, webp, tiff), or one of them."
    )
    threshold: float = Field(
        default=0.6, gt=0.0, lt=1.0, description="Detections with a lower score are neither drawn nor listed."
    )
    class_map: AbsolutePath | None = Field(
        default=None,
        description="Text file, one class name a line, line n for id n; the model's own names when absent.",
    )
    include_mask: bool = Field(default=False, description="Whether to draw and write masks.")
    exif: bool = Field(default=False, description="Whether to rotate images as their EXIF orientation says.")


class Calibration(ApiModel):
    """Where the INT8 calibration gets its images."""

    batches: int = Field(default=10, ge=1, le=100_000, description="Batches of batchSize images to calibrate with.")
    image_dir: AbsolutePath | None = Field(
        default=None, description="Directory of images; the training records when absent (recommended)."
    )


class Engine(ApiModel):
    """A TensorRT engine built beside the exported model."""

    build: bool = Field(
        default=False, description="Whether to build the engine; needs a GPU and TensorRT in the image."
    )


class Export(TaskOptions):
    """Export a model to ONNX (an encrypted .etlt with a key) for TensorRT."""

    data_type: Literal["fp32", "fp16", "int8"] = Field(
        default="fp32", description="Precision of the model and the engine."
    )
    batch_size: int = Field(default=16, ge=1, le=65536, description="Batch size of the INT8 calibration.")
    max_batch_size: int = Field(default=1, ge=1, le=65536, description="Largest batch of the engine.")
    max_workspace_size: int = Field(
        default=2_147_483_648, ge=1, le=2**62, description="Memory that TensorRT may use to build the engine, in bytes."
    )
    preprocessing: bool = Field(
        default=False,
        description="Whether the graph normalises: it takes float32 RGB from 0 to 255, not normalised input.",
    )
    gen_ds_config: bool = Field(
        default=False, description="Whether to write a DeepStream configuration beside the model."
    )
    calibration: Calibration = Field(default=Calibration(), description="INT8 calibration; read when dataType is int8.")
    engine: Engine = Field(default=Engine(), description="TensorRT engine.")

    @property
    def calibrates(self) -> bool:
        """Return whether INT8 ranges are measured on images."""
        return self.data_type == "int8"

    @property
    def calibrates_on_records(self) -> bool:
        """Return whether those images are drawn from the training records."""
        return self.calibrates and self.calibration.image_dir is None
