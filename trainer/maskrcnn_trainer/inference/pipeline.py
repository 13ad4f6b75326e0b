"""Inference pipeline: threads decode images before the detector, and paste, draw, and write results after it."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.padded_image import PaddedImage, pad_image
from maskrcnn_trainer.detector import Detections, Detector
from maskrcnn_trainer.evaluation.coco_results import add_segmentation, found_objects
from maskrcnn_trainer.evaluation.drawing import (
    UnwritableFormatError,
    draw_objects,
    objects_of_results,
    write_image,
)
from maskrcnn_trainer.images.decode import UnreadableImage, decode_image
from maskrcnn_trainer.inference.labels import LabeledImage, label_objects
from maskrcnn_trainer.inference.sources import SourceImage
from maskrcnn_trainer.inference.stages import StageClock
from maskrcnn_trainer.shared.files import LONGEST_NAME
from maskrcnn_trainer.task.files import write_json_atomically

log = logging.getLogger(__name__)

SMALLEST_SIDE = 300
"""Minimum of the shorter side of annotated images in pixels; smaller images are enlarged by an integer factor."""


@dataclass(frozen=True)
class Output:
    """Destination and content of the results.

    Attributes:
        images: directory of annotated images.
        labels: directory of label files.
        names: class names by category id.
        threshold: detections with a lower score are left out, 0..1.
        include_mask: whether masks are drawn and written.
        exif: whether images are rotated by their EXIF orientation.
        guard: called before each rename into place; raises if another run has taken over the directory.
    """

    images: Path
    labels: Path
    names: Mapping[int, str]
    threshold: float
    include_mask: bool = False
    exif: bool = False
    guard: Callable[[], None] = lambda: None


@dataclass
class InferenceResult:
    """Images, speed, and time by stage of an inference.

    Attributes:
        images: images that could be read, in order.
        unreadable: names of the images that could not be read.
        seconds: time from the first image to the last file.
        first_batch_seconds: time until the detections of the first batch, which includes building and compiling graphs.
        first_batch_images: number of images in the first batch.
        stage_seconds: time by stage, summed over the threads.
    """

    images: list[LabeledImage] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    first_batch_seconds: float = 0.0
    first_batch_images: int = 0
    stage_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def detections(self) -> int:
        """Number of detections in all images."""
        return sum(len(image.results) for image in self.images)

    @property
    def images_per_second(self) -> float:
        """Images per second over the whole run."""
        return len(self.images) / max(self.seconds, 1e-9)

    @property
    def steady_images_per_second(self) -> float:
        """Images per second after the first batch; over the whole run if there was only one batch."""
        later = len(self.images) - self.first_batch_images
        if later <= 0:
            return self.images_per_second
        return later / max(self.seconds - self.first_batch_seconds, 1e-9)


@dataclass(frozen=True)
class _Ready:
    """Decoded image that waits for the network: the file, its pixels uint8 [h, w, 3], and the padded image."""

    source: SourceImage
    pixels: NDArray[np.uint8]
    padded: PaddedImage


def run_inference(
    sources: Sequence[SourceImage],
    detector: Detector,
    output: Output,
    *,
    threads: int,
    check_stop: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda _done, _unreadable: None,
) -> InferenceResult:
    """Detect in all images, and write annotated images and labels.

    Args:
        sources: the images; those that cannot be read are logged and skipped.
        detector: the detector, called from this thread only.
        output: settings of the results; its directories must exist.
        threads: number of threads that decode, paste, draw, and write; at least two are used.
        check_stop: called before each batch; raises to stop.
        progress: called with the number of images done, and the number of those that could not be read.
    """
    result, clock = InferenceResult(), StageClock()
    began = time.monotonic()
    pending: deque[Future[LabeledImage]] = deque()

    def take_oldest() -> None:
        result.images.append(pending.popleft().result())
        progress(len(result.images) + len(result.unreadable), len(result.unreadable))

    ahead = 2 * detector.batch_size + threads
    pool = ThreadPoolExecutor(max_workers=max(2, threads), thread_name_prefix="images")

    def prepare(source: SourceImage) -> _Ready:
        with clock.stage("decode"):
            _refuse_long_names(source)
            pixels = decode_image(source.path, exif=output.exif)
            return _Ready(source, pixels, pad_image(pixels, detector.image_size))

    try:
        readable = _readable(((source, pool.submit(prepare, source)) for source in sources), ahead, result)
        for batch in _batches(readable, detector.batch_size):
            check_stop()
            with clock.stage("network"):
                found = detector.detect(np.stack([image.padded.pixels for image in batch]))
            if not result.first_batch_images:
                result.first_batch_images, result.first_batch_seconds = len(batch), time.monotonic() - began
            for image, detections in zip(batch, found, strict=True):
                pending.append(pool.submit(_finish, image, detections, detector, output, clock))
            while len(pending) > ahead:
                take_oldest()
        while pending:
            take_oldest()
    finally:
        pool.shutdown(cancel_futures=True)
    result.seconds = time.monotonic() - began
    result.stage_seconds = clock.seconds
    return result


def _readable(
    submitted: Iterator[tuple[SourceImage, Future[_Ready]]], ahead: int, result: InferenceResult
) -> Iterator[_Ready]:
    """Yield the images that can be read, in order, with ``ahead`` of them being decoded at any time."""
    underway: deque[tuple[SourceImage, Future[_Ready]]] = deque()
    while True:
        underway.extend(itertools.islice(submitted, ahead - len(underway)))
        if not underway:
            return
        source, future = underway.popleft()
        try:
            ready = future.result()
        except UnreadableImage as error:
            log.warning("%s: %s: skipped", source.path, error)
            result.unreadable.append(source.name)
        else:
            yield ready


def _refuse_long_names(source: SourceImage) -> None:
    """Check the length of the result files' names.

    Raises:
        UnreadableImage: a name would be too long for a file.
    """
    for name in (f"{source.name}.png", source.label):  # .png is appended if the image's format cannot be written
        size = len(os.fsencode(PurePosixPath(name).name))
        if size > LONGEST_NAME:
            raise UnreadableImage(f"the name of its result would have {size} bytes, over {LONGEST_NAME}; rename it")


def _batches(images: Iterator[_Ready], size: int) -> Iterator[list[_Ready]]:
    while batch := list(itertools.islice(images, size)):
        yield batch


def _finish(image: _Ready, found: Detections, detector: Detector, output: Output, clock: StageClock) -> LabeledImage:
    """Paste, draw, and write the detections of one image."""
    source, info = image.source, image.padded.image_info
    with clock.stage("paste"):
        results, masks = found_objects(
            found,
            image_info=info,
            image_id=source.image_id,
            class_map=detector.class_map,
            min_score=float(np.nextafter(np.float32(output.threshold), np.float32(0))),
            include_mask=output.include_mask,
            pasting=detector.architecture.mask_pasting,
        )
        if masks is not None:
            add_segmentation(results, masks, info)
    with clock.stage("draw"):
        objects = objects_of_results(results, output.names)
        if masks is not None:
            objects = [replace(one, mask=mask) for one, mask in zip(objects, masks, strict=True)]
        picture = draw_objects(image.pixels, objects, min_side=SMALLEST_SIDE)
    height, width = image.pixels.shape[:2]
    labeled = LabeledImage(source.image_id, source.name, height, width, results)
    with clock.stage("write"):
        target, label = output.images / source.name, output.labels / source.label
        for path in (target, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        # Labels first, so that after a kill no annotated image lacks its label: remove_ours keeps images without one.
        output.guard()
        write_json_atomically(label, label_objects(labeled))
        try:
            write_image(target, picture, before_rename=output.guard)
        except UnwritableFormatError:
            target = target.with_name(f"{target.name}.png")
            log.warning("%s: result cannot be written in the image's format; written as %s", source.path, target.name)
            write_image(target, picture, before_rename=output.guard)
    return labeled
