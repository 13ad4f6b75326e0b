"""``dataConfig``: the location of the data, and how an image becomes the network's input."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from maskrcnn_trainer.spec.base import UINT32_MAX, ImageSize, ScaleRange, SpecModel
from maskrcnn_trainer.spec.named_files import NAMES_FILES
from maskrcnn_trainer.spec.purposes import HOW_IT_RUNS, Purpose, ReadFor


class Augmentation(SpecModel):
    """Augmentation beyond the horizontal flip."""

    scale_jitter: ScaleRange | None = Field(
        default=None,
        description="Range [min, max] of a random scale factor for training images, drawn again at every use; both "
        "between 0.1 and 3. Larger images are cropped to imageSize, smaller ones are padded. Absent: off.",
    )


class DataConfig(SpecModel):
    """Source and format of the input data, used by training, evaluation, and inference."""

    image_size: Annotated[ImageSize, ReadFor(Purpose.INPUT_SIZE)] = Field(
        description="Size [height, width] in pixels to which images are resized (aspect ratio kept) and padded. Both "
        "at least 128 and multiples of 2^maxLevel. Typical: [832, 1344]. Lower it when memory runs out.",
    )
    augment_input_data: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=True, description="Whether training images are augmented: flipped horizontally with probability 0.5."
    )
    eval_samples: Annotated[int, ReadFor(Purpose.VALIDATION)] = Field(
        default=0,
        ge=0,
        le=UINT32_MAX,
        description="Number of validation images used by an evaluation, from the start of the records. 0: all of them.",
    )
    training_file_pattern: Annotated[
        str | None, ReadFor(Purpose.TRAINING, Purpose.CALIBRATION_RECORDS), NAMES_FILES
    ] = Field(
        default=None,
        max_length=65536,
        description="TFRecord files for training: a glob pattern, or several separated by commas. Needed by train, "
        "and by an int8 export that calibrates on training records.",
    )
    validation_file_pattern: Annotated[str | None, ReadFor(Purpose.VALIDATION), NAMES_FILES] = Field(
        default=None,
        max_length=65536,
        description="TFRecord files for validation: a glob pattern, or several separated by commas. Needed by train "
        "and evaluate.",
    )
    # for training too: the classes of the model come from these annotations
    val_json_file: Annotated[str | None, ReadFor(Purpose.TRAINING, Purpose.VALIDATION), NAMES_FILES] = Field(
        default=None,
        max_length=4096,
        description="Annotation file (COCO instances JSON) of the validation images. Needed by train and evaluate.",
    )
    num_classes: Annotated[int, ReadFor(Purpose.STRUCTURE)] = Field(
        ge=2,
        le=65536,
        description="Number of classes including the background: N + 1 for N categories; or at least the largest "
        "category id + 1, which keeps the ids as they are (91 for COCO).",
    )
    skip_crowd_during_training: Annotated[bool, ReadFor(Purpose.TRAINING)] = Field(
        default=True, description="Whether objects marked iscrowd are left out of training."
    )
    prefetch_buffer_size: Annotated[int, HOW_IT_RUNS] = Field(
        default=0,
        ge=0,
        le=1024,
        description="Number of batches prepared ahead by the input pipeline. 0: 2 batches.",
    )
    shuffle_buffer_size: Annotated[int, HOW_IT_RUNS] = Field(
        default=4096,
        ge=1,
        le=UINT32_MAX,
        description="No effect on a new training, which reads its records in a new random permutation each epoch. A "
        "training that was started by an earlier release continues to shuffle within a window of this many records; "
        "don't change the value.",
    )
    n_workers: Annotated[int, HOW_IT_RUNS] = Field(
        default=16,
        ge=1,
        le=1024,
        description="Number of images read in parallel. The same number, but at most twice the CPUs of a process, is "
        "prepared in parallel. Raise it for slow storage, lower it when memory runs out.",
    )
    max_num_instances: Annotated[int, ReadFor(Purpose.TRAINING)] = Field(
        default=200,
        ge=1,
        le=10000,
        description="Maximum number of objects per image used in training; if there are more, the largest are kept.",
    )
    augmentation: Annotated[Augmentation | None, ReadFor(Purpose.TRAINING)] = Field(
        default=None, description="Augmentation beyond the horizontal flip. Absent: none."
    )

    @field_validator("training_file_pattern", "validation_file_pattern", "val_json_file", mode="after")
    @classmethod
    def _empty_is_absent(cls, value: str | None) -> str | None:
        return value or None
