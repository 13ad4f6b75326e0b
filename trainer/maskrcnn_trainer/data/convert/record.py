"""One image with its objects as a framed TFRecord: the work of one call, done in any process, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.data.coco import CocoAnnotation, CocoImage
from maskrcnn_trainer.data.convert.example import make_example
from maskrcnn_trainer.data.convert.images import UnreadableImage, read_image
from maskrcnn_trainer.data.convert.objects import Finding, area_of, convert_object
from maskrcnn_trainer.data.records import frame


@dataclass(frozen=True)
class ConversionSettings:
    """What is the same for all images: where they are, the names of the categories, whether masks are written."""

    image_dir: str
    categories: dict[int, str]
    include_mask: bool


@dataclass(frozen=True)
class ConvertedImage:
    """What became of one image.

    Attributes:
        record: a framed TFRecord; b"" where the image could not be used.
        objects: objects written.
        findings: about its objects, in their order.
        problem: why the image could not be used, "" if it could.
    """

    record: bytes
    objects: int
    findings: tuple[Finding, ...]
    problem: str


def convert_image(
    settings: ConversionSettings, image: CocoImage, annotations: Sequence[CocoAnnotation]
) -> ConvertedImage:
    """Converts one image. An image that cannot be used is said in the result, since many of them are told at once."""
    path = Path(settings.image_dir) / image.file_name
    try:
        encoded = read_image(path, image.height, image.width)
    except UnreadableImage as error:
        return ConvertedImage(b"", 0, (), f"images: id {image.id}: {path}: {error}")
    kept: list[CocoAnnotation] = []
    pngs: list[bytes] = []
    findings: list[Finding] = []
    for annotation in annotations:
        png, keep, found = convert_object(annotation, image, settings.include_mask)
        findings.extend(found)
        if keep:
            kept.append(annotation)
            if png is not None:
                pngs.append(png)
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
        byte_lists["image/object/mask"] = pngs
    payload = make_example(
        byte_lists=byte_lists,
        float_lists={
            "image/object/bbox/xmin": [x / width for x, _, _, _ in boxes],
            "image/object/bbox/xmax": [(x + w) / width for x, _, w, _ in boxes],
            "image/object/bbox/ymin": [y / height for _, y, _, _ in boxes],
            "image/object/bbox/ymax": [(y + h) / height for _, y, _, h in boxes],
            "image/object/area": [area_of(annotation, image) for annotation in kept],
        },
        int_lists={
            "image/height": [height],
            "image/width": [width],
            "image/object/class/label": [annotation.category_id for annotation in kept],
            "image/object/is_crowd": [int(annotation.is_crowd) for annotation in kept],
        },
    )
    return ConvertedImage(frame(payload), len(kept), tuple(findings), "")


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # JSON may hold half of a surrogate pair
