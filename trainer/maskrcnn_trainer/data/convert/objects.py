"""The rules for one annotated object: dropped, kept, or kept and reported."""

from __future__ import annotations

from dataclasses import dataclass

from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.coco import CocoAnnotation, CocoImage
from maskrcnn_trainer.data.convert.masks import BrokenSegmentation, is_outside_of_box, to_mask, to_rle
from maskrcnn_trainer.data.convert.png import to_png


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about an object that the user should know.

    Attributes:
        kind: ``box`` or ``mask``, the list of the warnings file that it belongs to.
        annotation_id: the object.
        reason: what is wrong, in words.
        dropped: whether the object is left out.
    """

    kind: str
    annotation_id: int
    reason: str
    dropped: bool


def box_fault(bbox: tuple[float, float, float, float], image: CocoImage) -> str:
    """Why a box (x, y, width, height in pixels) does not lie in the image, "" if it does.

    Compared exactly: a box that ends a thousandth of a pixel outside is outside.
    """
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        return f"box {_numbers(bbox)} has no area"
    if x < 0 or y < 0 or x + width > image.width or y + height > image.height:
        return f"box {_numbers(bbox)} (x, y, width, height) reaches out of the {image.width}x{image.height} image"
    return ""


def convert_object(
    annotation: CocoAnnotation, image: CocoImage, include_mask: bool
) -> tuple[bytes | None, bool, list[Finding]]:
    """Applies the rules to one object.

    A box outside of the image, or a segmentation of which nothing can be used, drops the object. A mask that reaches
    out of its box, that is empty, or that had to do without some of its polygons, is reported and the object kept.

    Returns:
        The mask as PNG (None without masks), whether the object is kept, and what was found.
    """
    fault = box_fault(annotation.bbox, image)
    if fault:
        return None, False, [Finding("box", annotation.id, fault, dropped=True)]
    if not include_mask:
        return None, True, []
    try:
        mask, remark = to_mask(annotation.segmentation or [], image.height, image.width)
    except BrokenSegmentation as error:
        return None, False, [Finding("mask", annotation.id, str(error), dropped=True)]
    reasons = [f"{remark}; left out"] if remark else []
    if not mask.pixels.size:
        reasons.append("the mask is empty")
    elif is_outside_of_box(mask, annotation.bbox):
        reasons.append(f"the mask (pixels {_numbers(mask.box)}) reaches out of the box {_numbers(annotation.bbox)}")
    findings = [Finding("mask", annotation.id, "; ".join(reasons), dropped=False)] if reasons else []
    return to_png(mask), True, findings


def area_of(annotation: CocoAnnotation, image: CocoImage) -> float:
    """Return the area of an object in pixels: as given, else of its mask, else of its box."""
    if annotation.area is not None:
        return annotation.area
    try:
        return float(coco_mask.area(to_rle(annotation.segmentation or [], image.height, image.width)))
    except BrokenSegmentation:
        return annotation.bbox[2] * annotation.bbox[3]


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.10g}" for value in values) + "]"
