"""Summary of a conversion's findings: content of the warnings file, and one log line for each kind of finding.

This module does not read or write files.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable

from maskrcnn_trainer.conversion.class_counts import ClassCounts
from maskrcnn_trainer.conversion.images import CheckedImage
from maskrcnn_trainer.conversion.objects import Box, Cause, Finding, Outcome, box_in_image
from maskrcnn_trainer.conversion.shards import Warnings
from maskrcnn_trainer.data.coco import CocoAnnotation, CocoDataset, CocoImage
from maskrcnn_trainer.errors import InvalidInput

log = logging.getLogger(__name__)

_FINDINGS_LOGGED = 200
_MANY_LEFT_OUT = 0.1  # of the objects, or of the images
_LOOSE = 0.7  # IoU of a box and the mask's own box
_MANY_LOOSE = 0.05  # of the objects; COCO train2017 has 0.2%
_MANY_CROWDS = 0.5
_MOSTLY = 0.9
_ROUNDED = 0.05  # of the side, by which a fraction may exceed the image
_UNIT_SIDE = 16  # pixels; in a smaller image a box may really be within the first pixel

CORNERS = "the boxes seem to be x1, y1, x2, y2: COCO's are x, y, width, height"


class _Seen:
    """Count of findings, with the first one as an example."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, example: str) -> None:
        """Count a finding."""
        self.first = self.first or example
        self.count += 1


class ObjectTally:
    """Counts of the objects of a conversion and of their findings.

    Attributes:
        written: number of objects written.
        skipped: number of objects left out.
        warnings: content of the warnings file.
        classes: counts of the written objects by class.
    """

    def __init__(self) -> None:
        self.written = 0
        self.skipped = 0
        self.warnings: Warnings = {}
        self.classes = ClassCounts()
        self._left_out: dict[Cause, _Seen] = {}
        self._cut = _Seen()
        self._compared = 0
        self._loose = _Seen()
        self._loose_corners = 0
        self._logged = 0
        self._unlogged: Counter[str] = Counter()

    def add(self, image: CocoImage, annotations: Iterable[CocoAnnotation], outcomes: Iterable[Outcome]) -> None:
        """Count the objects of one image.

        Args:
            image: the image.
            annotations: of the image.
            outcomes: of its annotations, in their order.
        """
        annotations, outcomes = tuple(annotations), tuple(outcomes)
        self.classes.add(annotations, outcomes)
        for annotation, outcome in zip(annotations, outcomes, strict=True):
            where = f"image {image.id}, object {annotation.id}"
            for finding in outcome.findings:
                self._add_finding(image, where, finding)
            dropped = any(finding.dropped for finding in outcome.findings)
            self.skipped += dropped
            self.written += not dropped
            if outcome.overlap is not None:
                self._compared += 1
                if outcome.overlap < _LOOSE:
                    self._loose.add(where)
                    self._loose_corners += (outcome.corner_overlap or 0.0) >= _LOOSE

    def _add_finding(self, image: CocoImage, where: str, finding: Finding) -> None:
        lists = self.warnings.setdefault(str(image.id), {"box": [], "mask": []})
        lists[finding.kind].append(finding.annotation_id)
        example = f"{where}: {finding.reason}"
        if finding.dropped:
            self._left_out.setdefault(finding.cause, _Seen()).add(example)
        elif finding.cause is Cause.BOX_CUT:
            self._cut.add(example)
        fate = "left out" if finding.dropped else "kept"
        if self._logged < _FINDINGS_LOGGED:
            self._logged += 1
            log.info("image %d, object %d (%s): %s", image.id, finding.annotation_id, fate, finding.reason)
        else:
            self._unlogged[f"{finding.kind}, {fate}"] += 1

    def finish(self, dataset: CocoDataset) -> None:
        """Log one line for each kind of finding.

        Raises:
            InvalidInput: there were objects, but all of them are left out.
        """
        for what, count in sorted(self._unlogged.items()):
            log.info("%d more findings (%s), see the warnings file", count, what)
        total = self.written + self.skipped
        if not total and any(dataset.annotations_of(image.id) for image in dataset.images):
            raise InvalidInput(
                f"{dataset.path}: no object is left, since no image with objects can be used", reason="InvalidData"
            )
        if self._left_out:
            hint = self._hint(dataset)
            line = f"{_share(self.skipped, total, 'objects')} are left out: {self._reasons()}{hint}"
            if not self.written:
                raise InvalidInput(f"{dataset.path}: {line}", reason="InvalidData")
            log.log(logging.WARNING if self.skipped > _MANY_LEFT_OUT * total else logging.INFO, "%s", line)
        if self._cut.count:
            log.info(
                "%s are clipped to the image, since they exceed it by less than a pixel (%s)",
                _share(self._cut.count, total, "boxes"), self._cut.first,
            )  # fmt: skip
        if self._loose.count > _MANY_LOOSE * self._compared:
            corners = f"; {CORNERS}" if self._loose_corners > _MOSTLY * self._loose.count else ""
            log.warning(
                "%s have a box that does not fit the mask (IoU with the mask's own box below %g), such as %s: "
                "boxes and masks must belong to the same objects, in pixels of the stored image%s",
                _share(self._loose.count, self._compared, "objects"), _LOOSE, self._loose.first, corners,
            )  # fmt: skip

    def _reasons(self) -> str:
        ordered = sorted(self._left_out.items(), key=lambda item: -item[1].count)
        return "; ".join(f"{cause}: {seen.count}, such as {seen.first}" for cause, seen in ordered)

    def _hint(self, dataset: CocoDataset) -> str:
        if self.skipped <= _MANY_LEFT_OUT * (self.written + self.skipped):
            return ""
        commonest = max(self._left_out, key=lambda cause: self._left_out[cause].count)
        if commonest is Cause.BOX_OUTSIDE and boxes_are_corners(dataset):
            return f"; {CORNERS}"
        if commonest is Cause.NO_POLYGONS:
            return (
                "; the annotations seem to be boxes without masks, which cannot train Mask R-CNN "
                "(--no-include_mask converts the boxes alone)"
            )
        return ""


def boxes_are_corners(dataset: CocoDataset) -> bool:
    """Return whether nearly all boxes that extend beyond their image lie inside if read as x1, y1, x2, y2."""
    outside = fitting = 0
    for image in dataset.images:
        for annotation in dataset.annotations_of(image.id):
            if box_in_image(annotation.bbox, image)[1] is Cause.BOX_OUTSIDE:
                outside += 1
                x1, y1, x2, y2 = annotation.bbox
                fitting += box_in_image((x1, y1, x2 - x1, y2 - y1), image)[0] is not None
    return bool(outside) and fitting >= _MOSTLY * outside


def check_units(dataset: CocoDataset) -> None:
    """Warn of boxes in fractions of the image.

    Raises:
        InvalidInput: nearly all boxes are in fractions.
    """
    total, found, example = 0, 0, ""
    for image in dataset.images:
        for annotation in dataset.annotations_of(image.id):
            total += 1
            if _is_fraction(annotation.bbox, image):
                found += 1
                example = example or (
                    f"image {image.id}, object {annotation.id}: {list(annotation.bbox)} "
                    f"in an image of {image.width}x{image.height}"
                )
    line = (
        f"{_share(found, total, 'boxes')} are within the first pixel ({example}): they seem to be fractions of the "
        "image; x, y, width, height in pixels are expected"
    )
    if found and found >= _MOSTLY * total:
        raise InvalidInput(f"{dataset.path}: {line}", reason="InvalidData")
    if found > _MANY_LEFT_OUT * total:
        log.warning("%s", line)


def _is_fraction(bbox: Box, image: CocoImage) -> bool:
    inside = all(-_ROUNDED <= value <= 1 + _ROUNDED for value in bbox) and bbox[2] > 0 and bbox[3] > 0
    return inside and min(image.width, image.height) >= _UNIT_SIDE


def warn_of_crowds(dataset: CocoDataset) -> None:
    """Warn if most objects are crowds, which training leaves out."""
    objects = [annotation for image in dataset.images for annotation in dataset.annotations_of(image.id)]
    crowds = sum(annotation.is_crowd for annotation in objects)
    if crowds > _MANY_CROWDS * len(objects):
        log.warning(
            "%s have iscrowd 1: training leaves them out and evaluation ignores them; if they are single objects, "
            "convert with --crowd-as-objects (datasetConvert.crowdAsObjects) and set iscrowd to 0 in the annotations",
            _share(crowds, len(objects), "objects"),
        )


def warn_of_images(checked: Iterable[tuple[CocoImage, CheckedImage]]) -> None:
    """Warn of images that may not match their annotations, that lose detail in 8 bits, or that had to be repaired."""
    turned, dark, gray = _Seen(), _Seen(), _Seen()
    repaired: defaultdict[str, _Seen] = defaultdict(_Seen)
    total = 0
    for image, found in checked:
        total += 1
        if found.orientation != 1:
            turned.add(f"{image.file_name} with {found.orientation}")
        if found.is_dark:
            dark.add(image.file_name)
        if found.has_lost_pixels:
            gray.add(image.file_name)
        if found.repaired:
            repaired[found.repaired].add(image.file_name)
    if turned.count:
        log.warning(
            "%s have an EXIF orientation other than 1 (such as %s), which is ignored: annotations must be in stored "
            "pixels, not in those of the rotated image",
            _share(turned.count, total, "images"), turned.first,
        )  # fmt: skip
    if dark.count:
        log.warning(
            "%s have 16 bits, with 99%% of their values below 1/16 of the range (such as %s): only the upper 8 bits "
            "are used, so most detail is lost; scale their values to 0 to 65535",
            _share(dark.count, total, "images"), dark.first,
        )  # fmt: skip
    if gray.count:
        log.warning(
            "%s are JPEG files that end before their last pixels (such as %s): the rest is gray, also in training; "
            "replace them, or remove them with their annotations",
            _share(gray.count, total, "images"), gray.first,
        )  # fmt: skip
    for reason, seen in sorted(repaired.items()):
        log.warning(
            "%s are stored as new PNG: %s (such as %s)", _share(seen.count, total, "images"), reason, seen.first
        )


def warn_of_left_out(problems: dict[int, str], dataset: CocoDataset) -> None:
    """Warn of images that are left out because they cannot be used, with the number of their objects."""
    objects = sum(len(dataset.annotations_of(image)) for image in problems)
    first, problem = next(iter(problems.items()))
    log.warning(
        "%s are left out with their %d objects, since they cannot be used (such as image %d: %s); the warnings "
        "file lists them",
        _share(len(problems), len(dataset.images), "images"), objects, first, problem,
    )  # fmt: skip


def _share(count: int, total: int, what: str) -> str:
    return f"{count} of {total} {what} ({count / total:.1%})" if total else f"0 {what}"
