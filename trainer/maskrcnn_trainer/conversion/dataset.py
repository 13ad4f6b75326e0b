"""Conversion of a COCO data set to TFRecord shards."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from maskrcnn_trainer.conversion.images import CheckedImage
from maskrcnn_trainer.conversion.interruption import stopping_on_sigterm
from maskrcnn_trainer.conversion.names import missing_files
from maskrcnn_trainer.conversion.pool import ordered_map
from maskrcnn_trainer.conversion.record import ConversionSettings, checked_image, convert_image
from maskrcnn_trainer.conversion.shards import StagedShards, older_set
from maskrcnn_trainer.conversion.tally import (
    ObjectTally,
    check_units,
    warn_of_crowds,
    warn_of_images,
    warn_of_left_out,
)
from maskrcnn_trainer.data.coco import PROBLEMS_SHOWN, CocoDataset, CocoImage, Problems, load_coco
from maskrcnn_trainer.data.shard_names import SHARD, shard_name
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.results.facts import ClassObjects
from maskrcnn_trainer.shared.files import LONGEST_NAME
from maskrcnn_trainer.task.cpus import usable_cpus
from maskrcnn_trainer.task.files import directory_fault, make_directory

log = logging.getLogger(__name__)

MAX_SHARDS = 99_999
_LOG_EVERY = 100
_PROBLEMS_LOGGED = 1000  # a wrong --image_dir gives a problem for every image
_TAG = re.compile(r"[^/\\,*?\[\]\x00-\x1f.][^/\\,*?\[\]\x00-\x1f]*")

Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ConversionSummary:
    """Result of a conversion.

    Attributes:
        images: number of records written.
        skipped_images: number of images left out because they could not be used.
        objects: number of objects written.
        skipped: number of objects left out (box outside of the image, or segmentation broken).
        warned_images: number of images named in the warnings file.
        seconds: duration of the conversion.
        pattern: file pattern that matches the shards.
        warnings_file: path; None if there are no warnings.
        classes: written objects by class, without crowds.
    """

    images: int
    skipped_images: int
    objects: int
    skipped: int
    warned_images: int
    seconds: float
    pattern: str
    warnings_file: str | None
    classes: tuple[ClassObjects, ...]


def convert_dataset(
    image_dir: str | Path,
    annotations_file: str | Path,
    output_dir: str | Path,
    tag: str | None = None,
    num_shards: int = 256,
    *,
    include_mask: bool = True,
    skip_bad_images: bool = False,
    crowd_as_objects: bool = False,
    processes: int | None = None,
    progress: Progress | None = None,
    before_publish: Callable[[], None] | None = None,
) -> ConversionSummary:
    """Convert COCO instances to ``<output_dir>/<tag>-%05d-of-%05d.tfrecord``; image i goes to shard i % num_shards.

    All images are checked before the first is converted. The shards are moved into place together at the end and
    replace an older set with the same tag; an interrupted conversion changes nothing. Memory does not grow with the
    number of images, and the result does not depend on the number of processes.

    Args:
        image_dir: joined with each ``file_name``.
        annotations_file: COCO instances JSON.
        output_dir: created if missing.
        tag: prefix of the files; by default the name of the annotation file without its extension.
        num_shards: 1 to 99,999; may exceed the number of images.
        include_mask: whether masks are written.
        skip_bad_images: leave out images that cannot be used, with their objects, and list them in the warnings file.
        crowd_as_objects: write ``iscrowd`` 1 as 0, so that training learns these objects.
        processes: at least 1; by default one for each CPU that may be used.
        progress: called with (phase, images done, total images) while images are checked, and while they are
            converted.
        before_publish: called before the first file is moved into place; may raise.

    Raises:
        InvalidInput: arguments, annotations, or images are invalid (the message names all of them, up to a limit), or a
            file that no conversion has written has the name of a file of the set.
        WorkspaceFull: there is no space left.
        Stopped: SIGTERM was received.
    """
    began = time.monotonic()
    tag = checked_tag(tag, annotations_file)
    if not 1 <= num_shards <= MAX_SHARDS:
        raise InvalidInput(f"--num_shards {num_shards}: expected 1 to {MAX_SHARDS}", reason="InvalidCommandLine")
    if processes is not None and processes < 1:
        raise InvalidInput(f"processes {processes}: expected at least 1")
    if fault := directory_fault(Path(image_dir)):
        raise InvalidInput(f"--image_dir {image_dir}: {fault}", reason="InvalidData")
    target = make_directory(Path(output_dir), flag="--output_dir")
    older_set(target, tag)  # refuse foreign files before any work, not only at the end
    with stopping_on_sigterm():
        log.info("writing to output path: %s", target / tag)
        log.info("Building bounding box index.")
        dataset = load_coco(annotations_file, require_masks=include_mask)
        log.info("%d images are missing bboxes.", sum(image.id not in dataset.annotations for image in dataset.images))
        workers = _Workers(min(processes or usable_cpus(), len(dataset.images)), progress or _no_progress)
        settings = ConversionSettings(str(image_dir), dataset.categories, include_mask, crowd_as_objects)
        check_units(dataset)
        if not crowd_as_objects:
            warn_of_crowds(dataset)
        problems = missing_files(dataset.images, settings.image_dir)
        existing = [image for image in dataset.images if image.id not in problems]
        checked, unreadable = _checked(existing, settings, workers)
        problems |= unreadable
        if not (skip_bad_images and checked):
            _refuse(problems, dataset.path)
        if problems:
            warn_of_left_out(problems, dataset)
        warn_of_images((image, checked[image.id]) for image in dataset.images if image.id in checked)
        with StagedShards(target, tag, num_shards) as shards:
            tally = _convert(dataset, settings, checked, shards, workers)
            for image_id, problem in problems.items():
                tally.warnings[str(image_id)] = {"box": [], "mask": [], "image": problem}
            files = shards.publish(tally.warnings, before_publish)
    log.info("Finished writing, skipped %d annotations.", tally.skipped)
    return ConversionSummary(
        images=len(checked),
        skipped_images=len(problems),
        objects=tally.written,
        skipped=tally.skipped,
        warned_images=len(tally.warnings),
        seconds=time.monotonic() - began,
        pattern=str(target / f"{tag}-*-of-{num_shards:05d}.tfrecord"),
        warnings_file=str(files[-1]) if tally.warnings else None,
        classes=tally.classes.of(dataset.categories),
    )


def checked_tag(tag: str | None, annotations_file: str | Path) -> str:
    """Return the prefix of the file names.

    Args:
        tag: given by the user; None for the name of the annotation file without its extension.
        annotations_file: path of the annotation file.

    Raises:
        InvalidInput: the prefix cannot be part of a file name or of a pattern, or the names would be too long.
    """
    chosen = tag or Path(annotations_file).stem
    origin = "" if tag else " (the name of the annotation file; give another with --tag)"
    if not _TAG.fullmatch(chosen) or SHARD.fullmatch(chosen):
        raise InvalidInput(
            f"--tag {chosen!r}{origin}: expected a name without / \\ , * ? [ ] that does not begin with a dot",
            reason="InvalidCommandLine",
        )
    longest = LONGEST_NAME - len(shard_name("", 0, 1))
    if len(os.fsencode(chosen)) > longest:
        raise InvalidInput(
            f"--tag {chosen}{origin}: {len(os.fsencode(chosen))} bytes, and the names of the files would be too long; "
            f"expected at most {longest}",
            reason="InvalidCommandLine",
        )
    return chosen


@dataclass(frozen=True)
class _Workers:
    """Processes that work on images, with the callback for their progress."""

    processes: int
    progress: Progress

    @contextlib.contextmanager
    def results(
        self, phase: str, function: Callable[..., Result], items: Sequence[tuple[Any, ...]]
    ) -> Iterator[Iterator[Result]]:
        """Provide the results of `function` for the items, in their order; the processes end with the context."""
        with contextlib.closing(ordered_map(function, items, self.processes)) as results:
            yield self._counted(phase, results, len(items))

    def _counted(self, phase: str, results: Iterable[Result], total: int) -> Iterator[Result]:
        for done, result in enumerate(results, 1):
            yield result
            self.progress(phase, done, total)


def _checked(
    images: list[CocoImage], settings: ConversionSettings, workers: _Workers
) -> tuple[dict[int, CheckedImage], dict[int, str]]:
    """Return the checked images and the problems of those that cannot be used, both by image id."""
    found: dict[int, CheckedImage] = {}
    problems: dict[int, str] = {}
    check = functools.partial(checked_image, settings)
    with workers.results("Checking", check, [(image,) for image in images]) as results:
        for image, result in zip(images, results, strict=True):
            if isinstance(result, str):
                problems[image.id] = result
            else:
                found[image.id] = result
    return found, problems


def _refuse(problems: dict[int, str], path: str) -> None:
    """Raise one error that names the images that cannot be used, in their order; do nothing if there are none.

    Problems that do not fit into the message are logged, and --skip-bad-images writes all to the warnings file.
    """
    collected = Problems(path)
    for number, (image, problem) in enumerate(problems.items()):
        text = f"images: id {image}: {problem}"
        collected.add(text)
        if PROBLEMS_SHOWN <= number < _PROBLEMS_LOGGED:
            log.info("%s", text)
    left = len(problems) - _PROBLEMS_LOGGED
    logged = f"the first {_PROBLEMS_LOGGED} problems are" if left > 0 else "they are"
    collected.raise_if_any(
        remedy=f"; {logged} in the log above, and with --skip-bad-images all are in <tag>_warnings.json"
    )


def _convert(
    dataset: CocoDataset,
    settings: ConversionSettings,
    checked: dict[int, CheckedImage],
    shards: StagedShards,
    workers: _Workers,
) -> ObjectTally:
    tally = ObjectTally()
    images = [image for image in dataset.images if image.id in checked]
    items = [(image, dataset.annotations_of(image.id), checked[image.id]) for image in images]
    with workers.results("Converting", functools.partial(convert_image, settings), items) as results:
        for number, (image, result) in enumerate(zip(images, results, strict=True)):
            if number % _LOG_EVERY == 0:
                log.info("On image %d of %d", number, len(images))
            if result.problem:
                _refuse({image.id: result.problem}, dataset.path)
            shards.write(number, result.record)
            tally.add(image, dataset.annotations_of(image.id), result.outcomes)
    tally.finish(dataset)
    return tally


def _no_progress(phase: str, done: int, total: int) -> None:
    pass
