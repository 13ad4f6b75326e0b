"""Conversion of one image and its objects to a framed TFRecord; calls may run in any process and in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskrcnn_trainer.conversion.example import make_example
from maskrcnn_trainer.conversion.images import CheckedImage, check_image, encode_image
from maskrcnn_trainer.conversion.objects import Outcome, area_of, convert_object
from maskrcnn_trainer.data.coco import CocoAnnotation, CocoImage
from maskrcnn_trainer.data.records import frame
from maskrcnn_trainer.images.decode import UnreadableImage


@dataclass(frozen=True)
class ConversionSettings:
    """Settings that are the same for all images.

    Attributes:
        image_dir: joined with each ``file_name``.
        categories: name by id.
        include_mask: whether masks are written.
        crowd_as_objects: whether ``iscrowd`` is written as 0.
    """

    image_dir: str
    categories: dict[int, str]
    include_mask: bool
    crowd_as_objects: bool

    def path_of(self, image: CocoImage) -> Path:
        """Return the file of an image."""
        return Path(self.image_dir) / image.file_name


@dataclass(frozen=True)
class ConvertedImage:
    """Result for one image.

    Attributes:
        record: a framed TFRecord; b"" if the image could not be used.
        objects: number of objects written.
        outcomes: of the annotations, in their order.
        problem: why the image could not be used; "" if it could.
    """

    record: bytes
    objects: int
    outcomes: tuple[Outcome, ...]
    problem: str


def checked_image(settings: ConversionSettings, image: CocoImage) -> CheckedImage | str:
    """Return the checked image, or why it cannot be used; not raised, since many problems are reported together."""
    try:
        return check_image(settings.path_of(image), image.height, image.width)
    except UnreadableImage as error:
        return f"{settings.path_of(image)}: {error}"


def convert_image(
    settings: ConversionSettings, image: CocoImage, annotations: Sequence[CocoAnnotation], checked: CheckedImage
) -> ConvertedImage:
    """Convert one checked image; a change of its file is returned as a problem."""
    try:
        encoded = encode_image(settings.path_of(image), checked)
    except UnreadableImage as error:
        return ConvertedImage(b"", 0, (), f"{settings.path_of(image)}: {error}")
    objects = [convert_object(annotation, image, settings.include_mask) for annotation in annotations]
    kept = [one.annotation for one in objects if one.annotation is not None]
    areas = [None if one.annotation is None else area_of(one.annotation, image) for one in objects]
    crowds = [annotation.is_crowd and not settings.crowd_as_objects for annotation in annotations]
    width, height = image.width, image.height
    boxes = [annotation.bbox for annotation in kept]
    byte_lists: dict[str, list[bytes]] = {
        "image/filename": [image.file_name.encode("utf-8", "surrogateescape")],
        "image/source_id": [str(image.id).encode()],
        "image/key/sha256": [encoded.sha256.encode()],
        "image/encoded": [encoded.data],
        "image/format": [encoded.format.encode()],
        "image/object/class/text": [_utf8(settings.categories[annotation.category_id]) for annotation in kept],
    }
    if settings.include_mask:
        byte_lists["image/object/mask"] = [one.mask for one in objects if one.mask is not None]
    payload = make_example(
        byte_lists=byte_lists,
        float_lists={
            "image/object/bbox/xmin": [x / width for x, _, _, _ in boxes],
            "image/object/bbox/xmax": [(x + w) / width for x, _, w, _ in boxes],
            "image/object/bbox/ymin": [y / height for _, y, _, _ in boxes],
            "image/object/bbox/ymax": [(y + h) / height for _, y, _, h in boxes],
            "image/object/area": [area for area in areas if area is not None],
        },
        int_lists={
            "image/height": [height],
            "image/width": [width],
            "image/object/class/label": [annotation.category_id for annotation in kept],
            "image/object/is_crowd": [
                int(crowd) for crowd, one in zip(crowds, objects, strict=True) if one.annotation is not None
            ],
        },
    )
    outcomes = tuple(
        replace(one.outcome, area=None if crowd else area)
        for one, area, crowd in zip(objects, areas, crowds, strict=True)
    )
    return ConvertedImage(frame(payload), len(kept), outcomes, "")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # JSON may hold half of a surrogate pair
