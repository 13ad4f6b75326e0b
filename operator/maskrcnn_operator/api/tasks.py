"""Options of the tasks, each a flag of the trainer's command line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from maskrcnn_operator.api.base import PATH_OR_URL_PATTERN, ApiModel

PathOrUrl = Annotated[str, StringConstraints(pattern=PATH_OR_URL_PATTERN, max_length=4096)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=63)]


class TaskOptions(ApiModel):
    """Options of a task, a field of a step."""


class DatasetConvert(TaskOptions):
    """Convert images with COCO annotations to TFRecords."""

    image_dir: PathOrUrl = Field(description="Directory with the raw images.")
    annotations_file: PathOrUrl = Field(
        description="File with COCO instance annotations (JSON). Category IDs start from 1."
    )
    split: Literal["train", "val"] = Field(
        default="train",
        description="Purpose of the set: train fills in trainingFilePattern, val fills in validationFilePattern and "
        "valJsonFile, unless the experiment gives them. At most one step converts a val set.",
    )
    tag: Tag | None = Field(
        default=None,
        description="Prefix of the names of the TFRecords; when absent, the name of the annotation file.",
    )
    num_shards: int = Field(default=256, ge=1, le=99999, description="Number of TFRecord files (shards) to write.")
    include_mask: bool = Field(
        default=True, description="Whether to include the masks of the objects; training needs them."
    )
    skip_bad_images: bool = Field(
        default=False,
        description="Whether to skip images that are missing, damaged, or of another size than annotated, and their "
        "objects; TAG_warnings.json lists them. Otherwise one such image fails the step.",
    )
    crowd_as_objects: bool = Field(
        default=False,
        description="Whether to convert annotations with iscrowd 1 as single objects; training ignores crowds.",
    )


class Train(TaskOptions):
    """Train, or retrain a pruned model."""

    output: Literal["last", "best"] = Field(
        default="last", description="Model that the step makes: the last one, or the one with the best mask AP."
    )


class Evaluate(TaskOptions):
    """Evaluate a model on the validation set with the COCO metrics."""


class Prune(TaskOptions):
    """Remove filters with small weights from a model, which must then be retrained."""

    normalizer: Literal["max", "L2"] = Field(
        default="max",
        description="Divisor of each filter's norm: the largest norm in its layer (max), or the L2 norm of the layer.",
    )
    equalization_criterion: Literal["union", "intersection", "arithmetic_mean", "geometric_mean"] = Field(
        default="union", description="Combination of the statistics of layers whose outputs are added."
    )
    pruning_granularity: int = Field(
        default=8, ge=1, le=1024, description="The number of filters kept in a layer is a multiple of this number."
    )
    pruning_threshold: float = Field(
        default=0.1,
        ge=0.0,
        le=1_000_000,
        allow_inf_nan=False,
        description="Filters with a normalized norm above this value are kept.",
    )
    min_num_filters: int = Field(
        default=16, ge=1, le=65536, description="Minimum number of filters kept in each layer."
    )
    excluded_layers: tuple[Annotated[str, StringConstraints(max_length=256)], ...] = Field(
        default=(), max_length=512, description="Names of layers that are not pruned."
    )


class Inference(TaskOptions):
    """Run a model on images; write annotated images and labels in COCO format."""

    image_dir: PathOrUrl = Field(
        description="Directory with images (jpg, jpeg, png, bmp, webp, tiff), or one image file."
    )
    threshold: float = Field(
        default=0.6, gt=0.0, lt=1.0, description="Minimum score of the detections that are drawn and listed."
    )
    class_map: PathOrUrl | None = Field(
        default=None,
        description="Text file with one class name per line, line n for ID n; the model's own names when absent.",
    )
    include_mask: bool = Field(default=False, description="Whether to draw and write masks.")
    exif: bool = Field(default=False, description="Whether to rotate images by their EXIF orientation.")


class Calibration(ApiModel):
    """Images of the INT8 calibration."""

    batches: int = Field(
        default=10, ge=1, le=100_000, description="Number of batches of batchSize images for the calibration."
    )
    image_dir: PathOrUrl | None = Field(
        default=None,
        description="Directory with images; when absent (recommended), images of the training records are used.",
    )


class Engine(ApiModel):
    """TensorRT engine that is built next to the exported model."""

    build: bool = Field(
        default=False, description="Whether to build the engine; requires a GPU, and TensorRT in the image."
    )


class Export(TaskOptions):
    """Export a model to ONNX for TensorRT; with a key, to an encrypted .etlt file."""

    data_type: Literal["fp32", "fp16", "int8"] = Field(
        default="fp32", description="Precision of the model and the engine."
    )
    batch_size: int = Field(default=16, ge=1, le=65536, description="Batch size of the INT8 calibration.")
    max_batch_size: int = Field(default=1, ge=1, le=65536, description="Maximum batch size of the engine.")
    max_workspace_size: int = Field(
        default=2_147_483_648, ge=1, le=2**62, description="Memory that TensorRT may use to build the engine, in bytes."
    )
    preprocessing: bool = Field(
        default=False,
        description="Whether the graph normalizes its input; if so, the input is float32 RGB from 0 to 255.",
    )
    gen_ds_config: bool = Field(
        default=False, description="Whether to write a DeepStream configuration next to the model."
    )
    calibration: Calibration = Field(default=Calibration(), description="INT8 calibration; used if dataType is int8.")
    engine: Engine = Field(default=Engine(), description="TensorRT engine that is built from the model.")

    @property
    def calibrates(self) -> bool:
        """Return whether INT8 ranges are measured on images."""
        return self.data_type == "int8"

    @property
    def calibrates_on_records(self) -> bool:
        """Return whether those images are drawn from the training records."""
        return self.calibrates and self.calibration.image_dir is None
