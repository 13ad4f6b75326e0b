"""Pictures of the shown images, drawn into the validation records' images.

Images are decoded by Pillow, as in an inference, since a report doesn't load TensorFlow.
"""

from __future__ import annotations

import base64
import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.reader import RecordReader
from maskrcnn_trainer.data.records import FOOTER_BYTES, HEADER_BYTES, RecordIndex, is_record_header
from maskrcnn_trainer.data.scan import read_image
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_results import CocoResult
from maskrcnn_trainer.evaluation.drawing import Dashes, DrawnObject, draw_objects, drawn_name
from maskrcnn_trainer.images.decode import UnreadableImage, decode_image, image_size
from maskrcnn_trainer.report.content import Evaluation, Role, ShownImage, ShownObject
from maskrcnn_trainer.report.inputs.files import MIB, shown_path
from maskrcnn_trainer.report.inputs.paths import RecordedPaths
from maskrcnn_trainer.report.inputs.validation import Validation
from maskrcnn_trainer.report.page.palette import PICTURE_COLORS
from maskrcnn_trainer.results.evaluated_images import EvaluatedImage
from maskrcnn_trainer.shared.files import open_regular
from maskrcnn_trainer.task.progress_bar import progress_bar

log = logging.getLogger(__name__)

LISTS = ("worst", "confident_false", "missed", "random")
ABOUT_ONE_OBJECT = ("confident_false", "missed")
"""Lists in which each picture is about its first object; the others are boxes with their numbers alone."""

DASHES_OF_ROLES: Mapping[Role, Dashes] = {"true": "solid", "false": "dash-dotted", "missed": "dashed"}
FILL: Mapping[Role, float] = {"true": 0.1, "false": 0.1, "missed": 0.0}
"""Opacity of masks, low enough that the texture of the image stays visible."""

STROKES = 1.5
"""Size of lines and letters: the page shows a picture smaller than it is."""

LARGEST_RECORD = 256 * MIB
LARGEST_IMAGE = 100_000_000
"""Pixels of an image that is decoded."""

LONGER_SIDE = 640
"""Pixels of the longer side of a large image; the page shows it at up to half of that."""

SMALL_SIDE = 400
"""A smaller image is enlarged by a whole factor up to this longer side, so that names can be read."""

QUALITIES = (80, 60, 40, 20)
"""Qualities of WebP that are tried one after the other until a picture fits its share of the bytes."""

URL = "data:image/webp;base64,"
NO_BYTES = "the page would exceed 8 MB"


class NoPicture(Exception):
    """Picture that can't be drawn; the text is the reason."""


@dataclass(frozen=True)
class PictureSource:
    """Detections, annotations, and records that pictures are drawn from.

    Attributes:
        results: detections of the evaluation.
        validation: annotations, and the place of each image's record.
        paths: recorded paths as paths of this machine.
    """

    results: Sequence[CocoResult]
    validation: Validation
    paths: RecordedPaths


def with_pictures(evaluation: Evaluation, source: PictureSource, budget: int) -> Evaluation:
    """Return an evaluation with a picture of each shown image, as far as the budget and the records allow.

    The first images of all lists come first, so that a small budget leaves none of them empty. What one picture doesn't
    need is left to the others.

    Args:
        evaluation: the analysis, without pictures.
        source: what the pictures are drawn from.
        budget: bytes of all pictures together, as ``data:`` URLs.
    """
    order = list(_by_rank(evaluation))
    drawn: dict[tuple[str, int], str] = {}
    missing = ""
    with progress_bar("Drawing", len(order), "pictures") as progress:
        for number, (name, rank) in enumerate(order):
            try:
                image = getattr(evaluation, name)[rank]
                about_one = name in ABOUT_ONE_OBJECT
                drawn[name, rank] = picture = _picture(
                    image, source, budget // (len(order) - number), about_one=about_one
                )
                budget -= len(picture)
            except NoPicture as error:
                missing = missing or str(error)
            progress.advance()
    shown: Mapping[str, Any] = {
        name: tuple(
            replace(image, picture=drawn.get((name, rank))) for rank, image in enumerate(getattr(evaluation, name))
        )
        for name in LISTS
    }
    return replace(evaluation, pictures_missing=missing or None, **shown)


def without_pictures(evaluation: Evaluation, reason: str) -> Evaluation:
    """Return an evaluation without pictures, and with the reason for that."""
    shown: Mapping[str, Any] = {
        name: tuple(replace(image, picture=None) for image in getattr(evaluation, name)) for name in LISTS
    }
    return replace(evaluation, pictures_missing=reason, **shown)


def _by_rank(evaluation: Evaluation) -> Iterator[tuple[str, int]]:
    ranks = [[(name, rank) for rank in range(len(getattr(evaluation, name)))] for name in LISTS]
    for row in itertools.zip_longest(*ranks):
        yield from (place for place in row if place is not None)


def _picture(image: ShownImage, source: PictureSource, limit: int, *, about_one: bool) -> str:
    """Return the drawn image as a ``data:`` URL of at most ``limit`` characters.

    Args:
        image: the image.
        source: what it is drawn from.
        limit: characters.
        about_one: whether only the first object has its name and mask; the others have their numbers.

    Raises:
        NoPicture: the record can't be read, or no quality is small enough.
    """
    known = source.validation.ground_truth.images[image.image_id]
    pixels = _pixels(source, source.validation.images[image.image_id], (known["height"], known["width"]))
    height, width = pixels.shape[:2]
    factor = LONGER_SIDE / max(height, width)
    factor = factor if factor < 1 else float(max(1, SMALL_SIDE // max(height, width)))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    scaled = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    objects = [
        _drawn(shown, source, size, factor, number=number, full=not about_one or number == 1)
        for number, shown in enumerate((one for one in image.objects if one.role in PICTURE_COLORS), start=1)
    ]
    drawn = cv2.cvtColor(draw_objects(scaled, objects, strokes=STROKES), cv2.COLOR_RGB2BGR)
    for quality in QUALITIES:
        done, encoded = cv2.imencode(".webp", drawn, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if done and len(URL) + (len(encoded) + 2) // 3 * 4 <= limit:
            return URL + base64.b64encode(encoded.tobytes()).decode("ascii")
    raise NoPicture(NO_BYTES)


def _drawn(
    shown: ShownObject, source: PictureSource, size: tuple[int, int], factor: float, *, number: int, full: bool
) -> DrawnObject:
    x, y, width, height = (value * factor for value in shown.box)
    of_object = shown.role == "missed"
    holder = source.validation.ground_truth.annotations if of_object else source.results
    runs = holder[shown.index].get("segmentation")
    mask = None
    if runs and full:
        whole: NDArray[np.uint8] = coco_mask.decode(dict(runs))
        mask = cv2.resize(whole, size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return DrawnObject(
        (y, x, y + height, x + width), shown.category, drawn_name(shown.name, shown.category) if full else "",
        shown.score, mask, color=PICTURE_COLORS[shown.role], dashes=DASHES_OF_ROLES[shown.role], fill=FILL[shown.role],
        number=number,
    )  # fmt: skip


def _pixels(source: PictureSource, place: EvaluatedImage | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image of a record, uint8 RGB [H, W, 3].

    Raises:
        NoPicture: the record is gone or damaged, or belongs to another image.
    """
    if place is None:
        raise NoPicture("it isn't recorded where the validation records are")
    file = source.paths.present(place.file)
    try:
        record = read_image(RecordReader(_index_of(file, place.offset)), 0)
        if record.source_id != str(place.id).encode():
            raise NoPicture(f"the validation records have changed ({shown_path(file)})")
        height, width = image_size(record.encoded)
        if height * width > LARGEST_IMAGE:
            raise NoPicture(f"an image has more than {LARGEST_IMAGE:,} pixels")
        if (height, width) != size:
            raise NoPicture(f"the validation records have images of another size ({shown_path(file)})")
        return decode_image(record.encoded)
    except (InvalidInput, UnreadableImage, ValueError) as error:
        raise NoPicture(f"the validation records can't be read ({shown_path(file)})") from error
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        state = "are gone" if gone else f"can't be read: {error.strerror}"
        raise NoPicture(f"the validation records {state} ({shown_path(file)})") from error


def _index_of(file: Path, offset: int) -> RecordIndex:
    """Return an index of the one record whose payload begins at a byte of a file.

    Raises:
        OSError: the file can't be read.
        InvalidInput: there is no record.
    """
    with open_regular(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        if not HEADER_BYTES <= offset <= size:
            raise InvalidInput(f"{file}: no record at byte {offset}")
        stream.seek(offset - HEADER_BYTES)
        header = stream.read(HEADER_BYTES)
    length = int.from_bytes(header[:8], "little")
    if not is_record_header(header) or length > min(LARGEST_RECORD, size - offset - FOOTER_BYTES):
        raise InvalidInput(f"{file}: no record at byte {offset}")
    return RecordIndex(
        (str(file),), np.zeros(1, np.int32), np.array([offset], np.int64), np.array([length], np.int64)
    )  # fmt: skip
