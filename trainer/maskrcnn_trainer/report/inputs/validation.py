"""Validation data of an evaluation: annotations, and the images that it saw with their records."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.coco_results import ImageId, json_image_ids
from maskrcnn_trainer.report.inputs.files import MIB, Unreadable, one_sentence, shown_path
from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.results.evaluated_images import EvaluatedImage, EvaluatedImageList, read_evaluated_images
from maskrcnn_trainer.shared.object_url import is_url
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.spec.task_table import EVALUATED_FILE
from maskrcnn_trainer.task.artifacts import file_sha256
from maskrcnn_trainer.task.staged_inputs import staged_file

LARGEST_ANNOTATIONS = 1024 * MIB
IDENTITY_DIGITS = 32


@dataclass(frozen=True)
class Validation:
    """Validation data of one evaluation.

    Attributes:
        ground_truth: annotations of at least the evaluated images.
        images: the evaluated images by id, in the order of their records; None for one whose record is unknown.
        identity: digest of the annotation file and of the ids of the evaluated images, hexadecimal.
        note: sentence about a damaged list of the images, which are those of the spec then; else None.
    """

    ground_truth: GroundTruth
    images: Mapping[ImageId, EvaluatedImage | None]
    identity: str
    note: str | None = None


def open_validation(
    directory: Path, spec: ExperimentSpec | None, paths: RecordedPaths, *, evaluated: int | None
) -> Validation:
    """Return the validation data of an evaluation.

    Args:
        directory: results directory of the evaluation.
        spec: names the annotation file and the validation records of an earlier release, which recorded neither; None
            if it isn't recorded.
        paths: recorded paths as paths of this machine.
        evaluated: number of images that the evaluation saw, from its metrics; None if it isn't recorded.

    Raises:
        Unreadable: the annotation file can't be read, or it is unknown which images were evaluated.
    """
    recorded = read_evaluated_images(directory)
    note = None
    if isinstance(recorded, EvaluatedImageList):
        file = paths.expected(recorded.annotations)
        truth = _ground_truth(file, recorded.annotations)
        images: Mapping[ImageId, EvaluatedImage | None] = {image.id: image for image in recorded.images}
    elif spec is None:
        raise Unreadable(f"{directory.name}/{recorded.reason}, and the spec with its annotation file isn't recorded.")
    else:
        file = _annotation_file(spec, paths)
        truth = _ground_truth(file)
        found = _images_of_earlier_release(spec, paths, truth, evaluated)
        if found is None:
            raise Unreadable(
                f"{directory.name}/{recorded.reason}. The present validation records aren't those of the evaluation "
                "either, so it is unknown which images it saw."
            )
        images = found
        if os.path.lexists(directory / EVALUATED_FILE):
            note = f"{directory.name}/{recorded.reason}; the images are those of the validation data in the spec."
    unknown = [image_id for image_id in images if image_id not in truth.images]
    if unknown:
        raise Unreadable(f"{shown_path(file)} has no image with id {str(unknown[0])[:60]!r}, which was evaluated.")
    digest = hashlib.sha256(file_sha256(file).encode())
    for text in sorted(map(str, images)):
        digest.update(b"\0" + text.encode("utf-8", "backslashreplace"))
    return Validation(truth, images, digest.hexdigest()[:IDENTITY_DIGITS], note)


def _ground_truth(file: Path, recorded: str = "") -> GroundTruth:
    if is_url(recorded) and staged_file(recorded) is None:
        raise Unreadable(f"The annotation file {recorded} was not loaded: the log has the reason.")
    try:
        if file.stat().st_size > LARGEST_ANNOTATIONS:
            raise Unreadable(f"{shown_path(file)} is larger than {LARGEST_ANNOTATIONS:,} bytes.")
        return GroundTruth.load(file)
    except (OSError, ValueError) as error:
        raise Unreadable(
            f"The annotation file {file} can't be read: {getattr(error, 'strerror', None) or error}."
        ) from None
    except TaskError as error:
        raise Unreadable(f"The annotation file can't be read: {one_sentence(error)}") from None


def _annotation_file(spec: ExperimentSpec, paths: RecordedPaths) -> Path:
    if not spec.data_config.val_json_file:
        raise Unreadable("The spec doesn't name the annotation file of the validation images.")
    return paths.expected(spec.data_config.val_json_file)


def _images_of_earlier_release(
    spec: ExperimentSpec, paths: RecordedPaths, truth: GroundTruth, evaluated: int | None
) -> Mapping[ImageId, EvaluatedImage | None] | None:
    """Return the first images of the records, without their places if those are gone; None if others were seen."""
    images: Mapping[ImageId, EvaluatedImage | None]
    try:
        images = _images_of_records(spec, paths, truth)
    except TaskError:
        images = dict.fromkeys(truth.image_ids)
    return images if evaluated == len(images) else None


def _images_of_records(spec: ExperimentSpec, paths: RecordedPaths, truth: GroundTruth) -> dict[ImageId, EvaluatedImage]:
    """Return the first ``evalSamples`` images of the validation records.

    Raises:
        TaskError: the records can't be read, or the annotation file has no entry for one of them.
    """
    patterns = (spec.data_config.validation_file_pattern or "").split(",")
    index = index_records(",".join(str(paths.present(pattern.strip())) for pattern in patterns if pattern.strip()))
    limit = min(spec.data_config.eval_samples or len(index), len(index))
    ids = json_image_ids(truth.image_ids)
    names = [one.decode("utf-8", "replace") for one in record_summary(index, records=np.arange(limit)).source_ids]
    if not all(name in ids for name in names):
        raise TaskError("the annotations lack an image of the records")
    return {ids[name]: _place(index, record, ids[name]) for record, name in enumerate(names)}


def _place(index: RecordIndex, record: int, image_id: ImageId) -> EvaluatedImage:
    return EvaluatedImage(image_id, index.files[int(index.file_ids[record])], int(index.offsets[record]))


def recorded_identity(directory: Path) -> str | None:
    """Return the identity of the validation data that an evaluation recorded; None if it recorded none."""
    found = read_evaluated_images(directory)
    return found.evaluated_on if isinstance(found, EvaluatedImageList) else None
