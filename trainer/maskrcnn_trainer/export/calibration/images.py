"""Images to calibrate on, preprocessed as in training but without augmentation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data import examples
from maskrcnn_trainer.data.faults import first_fault
from maskrcnn_trainer.data.padded_image import pad_image
from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import RecordIndex, index_records
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.images.decode import UnreadableImage, decode_image
from maskrcnn_trainer.images.names import SUFFIXES
from maskrcnn_trainer.task.files import directory_fault

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrationSet:
    """Selection of the images to calibrate on.

    Attributes:
        image_size: height and width of the padded image.
        batches: number of batches.
        batch_size: images per batch.
        seed: seed of the random selection.
    """

    image_size: tuple[int, int]
    batches: int
    batch_size: int
    seed: int

    @property
    def requested(self) -> int:
        """Number of images to calibrate on."""
        return self.batches * self.batch_size

    def drawn(self, available: int, source: str) -> NDArray[np.int64]:
        """Return the indices of images drawn at random without replacement; all of them if there are too few."""
        if available < self.requested:
            log.warning(
                "%s has %d images, fewer than --batches %d times --batch_size %d (%d); using all of them",
                source, available, self.batches, self.batch_size, self.requested,
            )  # fmt: skip
        return np.random.default_rng(self.seed).permutation(available)[: self.requested]

    def batched(self, images: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.float32]]:
        """Yield batches float32 [B, 3, H, W] of images uint8 [h, w, 3]; the last may be smaller."""
        batch: list[NDArray[np.float32]] = []
        for image in images:
            batch.append(pad_image(image, self.image_size).pixels.transpose(2, 0, 1))
            if len(batch) == self.batch_size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


def record_batches(pattern: str, selection: CalibrationSet) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """Return the number of images and their batches, drawn at random over all training records.

    Raises:
        InvalidInput: there are no records, or, raised while reading, a record's image cannot be decoded.
    """
    index = index_records(pattern)
    drawn = selection.drawn(len(index), "trainingFilePattern")
    return len(drawn), selection.batched(_record_images(index, drawn))


def _record_images(index: RecordIndex, drawn: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    reader = RecordReader(index)
    for record in drawn:
        try:
            encoded, _ = examples.parse_image(tf.constant(reader.read(int(record))))
            pixels = examples.decode_stored(encoded).numpy()
        except tf.errors.InvalidArgumentError as error:
            fault = first_fault(index, [int(record)])
            if fault is None:
                raise
            raise fault from error
        yield pixels


def directory_batches(directory: Path, selection: CalibrationSet) -> tuple[int, Iterator[NDArray[np.float32]]]:
    """Return the maximum number of images, and their batches, drawn at random from a directory and its subdirectories.

    A file that cannot be decoded is reported, and replaced by another one as long as there are any.

    Raises:
        InvalidInput: the directory doesn't exist or has no image, or, raised while reading, no image can be decoded.
    """
    if fault := directory_fault(directory):
        raise InvalidInput(f"--cal_image_dir {directory}: {fault}", reason="InvalidData")
    next(directory.iterdir(), None)  # raises if the directory isn't readable, which rglob ignores
    files = sorted(path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InvalidInput(
            f"--cal_image_dir {directory}: contains no image (files with suffix {', '.join(SUFFIXES)})",
            reason="InvalidData",
        )
    drawn = selection.drawn(len(files), f"--cal_image_dir {directory}")
    spare = np.setdiff1d(np.arange(len(files)), drawn)
    np.random.default_rng(selection.seed).shuffle(spare)
    in_turn = [files[index] for index in (*drawn, *spare)]
    return len(drawn), selection.batched(_file_images(in_turn, len(drawn), directory))


def _file_images(files: list[Path], count: int, directory: Path) -> Iterator[NDArray[np.uint8]]:
    decoded = 0
    for path in files:
        if decoded == count:
            return
        try:
            pixels = decode_image(path)
        except UnreadableImage as error:
            log.warning("%s: %s: skipped", path, error)
            continue
        decoded += 1
        yield pixels
    if not decoded:
        raise InvalidInput(f"--cal_image_dir {directory}: none of its images can be decoded", reason="InvalidData")
