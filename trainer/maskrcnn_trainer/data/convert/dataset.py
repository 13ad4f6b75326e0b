"""A COCO data set as TFRecord shards."""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.data.coco import CocoDataset, CocoImage, Problems, load_coco
from maskrcnn_trainer.data.convert.interruption import stopping_on_sigterm
from maskrcnn_trainer.data.convert.objects import Finding
from maskrcnn_trainer.data.convert.pool import ordered_map
from maskrcnn_trainer.data.convert.record import ConversionSettings, convert_image
from maskrcnn_trainer.data.convert.shards import StagedShards, Warnings, older_set
from maskrcnn_trainer.data.records import SHARD
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.files import make_directory
from maskrcnn_trainer.launch.cpus import usable_cpus

log = logging.getLogger(__name__)

MAX_SHARDS = 99_999
_LOG_EVERY = 100
_FINDINGS_LOGGED = 200
_BAD_IMAGES = 20  # after so many the rest is not looked at
_TAG = re.compile(r"[^/\\,*?\[\]\x00-\x1f.][^/\\,*?\[\]\x00-\x1f]*")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ConversionSummary:
    """What a conversion did.

    Attributes:
        images: records written.
        objects: objects written.
        skipped: objects left out (box outside of the image, or segmentation broken).
        warned_images: images named in the warnings file.
        shards: files written.
        seconds: from start to end.
        pattern: that matches the shards.
        warnings_file: path, None where there was nothing to warn about.
    """

    images: int
    objects: int
    skipped: int
    warned_images: int
    shards: int
    seconds: float
    pattern: str
    warnings_file: str | None


def convert_dataset(
    image_dir: str | Path,
    annotations_file: str | Path,
    output_dir: str | Path,
    tag: str | None = None,
    num_shards: int = 256,
    *,
    include_mask: bool = True,
    processes: int | None = None,
    progress: Progress | None = None,
    before_publish: Callable[[], None] | None = None,
) -> ConversionSummary:
    """Converts COCO instances to ``<output_dir>/<tag>-%05d-of-%05d.tfrecord``; image i goes to shard i % num_shards.

    The shards appear all at once at the end, in the place of an older set of the same tag; an interrupted conversion
    changes nothing. Memory does not grow with the images. The result does not depend on the number of processes.

    Args:
        image_dir: joined with each ``file_name``.
        annotations_file: COCO instances JSON.
        output_dir: made where it is absent.
        tag: prefix of the files; by default the name of the annotation file without its extension.
        num_shards: 1 to 99 999; may be more than there are images.
        include_mask: whether masks are written.
        processes: by default one for each CPU that may be used.
        progress: called with (images done, images in all).
        before_publish: called before the first file is put in place; may raise.

    Raises:
        InvalidInput: wrong arguments, annotations or images; the message names them all, up to a limit. Or a file that
            no conversion has written has the name of one of the set.
        WorkspaceFull: no space is left.
        Stopped: SIGTERM came.
    """
    began = time.monotonic()
    tag = checked_tag(tag, annotations_file)
    if not 1 <= num_shards <= MAX_SHARDS:
        raise InvalidInput(f"--num_shards {num_shards}: 1 to {MAX_SHARDS} is wanted", reason="InvalidCommandLine")
    if processes is not None and processes < 1:
        raise InvalidInput(f"processes {processes}: at least 1 is wanted")
    if not Path(image_dir).is_dir():
        raise InvalidInput(f"--image_dir {image_dir}: there is no such directory", reason="InvalidData")
    target = make_directory(Path(output_dir), flag="--output_dir")
    older_set(target, tag)  # refuses before any work what it would refuse at the end
    with stopping_on_sigterm():
        log.info("writing to output path: %s", target / tag)
        log.info("Building bounding box index.")
        dataset = load_coco(annotations_file, require_masks=include_mask)
        log.info("%d images are missing bboxes.", sum(image.id not in dataset.annotations for image in dataset.images))
        _check_files(dataset, str(image_dir))
        workers = min(processes or usable_cpus(), len(dataset.images))
        settings = ConversionSettings(str(image_dir), dataset.categories, include_mask)
        with StagedShards(target, tag, num_shards) as shards:
            tally = _convert(dataset, settings, shards, workers, progress)
            files = shards.publish(tally.warnings, before_publish)
    log.info("Finished writing, skipped %d annotations.", tally.skipped)
    return ConversionSummary(
        images=len(dataset.images),
        objects=tally.objects,
        skipped=tally.skipped,
        warned_images=len(tally.warnings),
        shards=num_shards,
        seconds=time.monotonic() - began,
        pattern=str(target / f"{tag}-*-of-{num_shards:05d}.tfrecord"),
        warnings_file=str(files[-1]) if tally.warnings else None,
    )


def checked_tag(tag: str | None, annotations_file: str | Path) -> str:
    """The prefix of the file names.

    Raises:
        InvalidInput: it could not be part of a file name or of a pattern.
    """
    chosen = tag or Path(annotations_file).stem
    if not _TAG.fullmatch(chosen) or SHARD.fullmatch(chosen):
        origin = "" if tag else " (the name of the annotation file; give another with --tag)"
        raise InvalidInput(
            f"--tag {chosen!r}{origin}: a name without / \\ , * ? [ ] that does not begin with a dot is wanted",
            reason="InvalidCommandLine",
        )
    return chosen


class _Tally:
    """What the images told, added up."""

    def __init__(self) -> None:
        self.objects = 0
        self.skipped = 0
        self.warnings: Warnings = {}
        self._logged = 0
        self._unlogged: Counter[str] = Counter()

    def add(self, image: CocoImage, objects: int, findings: tuple[Finding, ...]) -> None:
        self.objects += objects
        for finding in findings:
            self.skipped += finding.dropped
            lists = self.warnings.setdefault(str(image.id), {"box": [], "mask": []})
            lists[finding.kind].append(finding.annotation_id)
            fate = "left out" if finding.dropped else "kept"
            if self._logged < _FINDINGS_LOGGED:
                self._logged += 1
                log.warning("image %d, object %d (%s): %s", image.id, finding.annotation_id, fate, finding.reason)
            else:
                self._unlogged[f"{finding.kind}, {fate}"] += 1

    def finish(self) -> None:
        for what, count in sorted(self._unlogged.items()):
            log.warning("%d more objects with warnings (%s); the warnings file names them", count, what)


def _convert(
    dataset: CocoDataset, settings: ConversionSettings, shards: StagedShards, workers: int, progress: Progress | None
) -> _Tally:
    tally = _Tally()
    problems = Problems(dataset.path)
    total = len(dataset.images)
    items = ((image, dataset.annotations_of(image.id)) for image in dataset.images)
    results = ordered_map(functools.partial(convert_image, settings), items, workers)
    try:
        for number, (image, result) in enumerate(zip(dataset.images, results, strict=True)):
            if number % _LOG_EVERY == 0:
                log.info("On image %d of %d", number, total)
            if result.problem:
                log.error("%s", result.problem)
                problems.add(result.problem)
                if problems.count >= _BAD_IMAGES:
                    break
            elif not problems.count:
                shards.write(number, result.record)
                tally.add(image, result.objects, result.findings)
            if progress is not None:
                progress(number + 1, total)
    finally:
        results.close()
    problems.raise_if_any()
    tally.finish()
    return tally


def _check_files(dataset: CocoDataset, image_dir: str) -> None:
    """Names missing image files before any work is done, by one listing of the directory."""
    there = set(os.listdir(image_dir))  # noqa: PTH208 - names are wanted, not paths
    problems = Problems(dataset.path)
    for image in dataset.images:
        if "/" not in image.file_name and image.file_name not in there:
            problems.add(f"images: id {image.id}: file_name {image.file_name!r}: no such file in {image_dir}")
    problems.raise_if_any()
