"""Rules for one annotated object: it is left out, kept, or kept and reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pycocotools import mask as coco_mask

from maskrcnn_trainer.conversion.png import to_png
from maskrcnn_trainer.data.coco import CocoAnnotation, CocoImage
from maskrcnn_trainer.data.segmentations import BrokenSegmentation, is_outside_of_box, to_mask, to_rle

Box = tuple[float, float, float, float]

_CLIPPED = 1.0  # pixels: a box that exceeds the image by less is clipped


class Cause(StrEnum):
    """Kinds of findings, with their names in the summary."""

    FLAT_BOX = "box without an area"
    BOX_OUTSIDE = "box extends beyond the image"
    BOX_CUT = "box exceeds the image by less than a pixel"
    NO_POLYGONS = "empty segmentation"
    BROKEN_SEGMENTATION = "broken segmentation"
    MASK = "mask"


@dataclass(frozen=True, slots=True)
class Finding:
    """Problem of an object that is reported to the user.

    Attributes:
        kind: ``box`` or ``mask``, the list of the warnings file that it belongs to.
        annotation_id: id of the object.
        cause: kind of the problem.
        reason: description of the problem.
        dropped: whether the object is left out.
    """

    kind: str
    annotation_id: int
    cause: Cause
    reason: str
    dropped: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result for one object, for the summary.

    Attributes:
        findings: about the object.
        overlap: IoU of the box and the mask's own box, 0 to 1; None if there is no mask or it is empty.
        corner_overlap: the same, for the box read as x1, y1, x2, y2.
        area: in pixels, as in the record; None for an object that is left out or written as a crowd.
    """

    findings: tuple[Finding, ...] = ()
    overlap: float | None = None
    corner_overlap: float | None = None
    area: float | None = None


@dataclass(frozen=True, slots=True)
class ConvertedObject:
    """Object in the form that a record stores.

    Attributes:
        annotation: with its box clipped to the image; None if the object is left out.
        mask: PNG; None if the object is left out, or if masks are not written.
        outcome: for the summary.
    """

    annotation: CocoAnnotation | None
    mask: bytes | None
    outcome: Outcome


def box_in_image(bbox: Box, image: CocoImage) -> tuple[Box | None, Cause | None, str]:
    """Check a box, and clip it to the image if it exceeds the image by less than a pixel.

    Args:
        bbox: x, y, width, height in pixels.
        image: that the box belongs to.

    Returns:
        The box to use, None if it cannot be used; the cause and a description of the problem, None and "" if there is
        none.
    """
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        return None, Cause.FLAT_BOX, f"box {_numbers(bbox)} (x, y, width, height) has no area"
    excess = max(-x, -y, x + width - image.width, y + height - image.height)
    if excess <= 0:
        return bbox, None, ""
    reason = (
        f"box {_numbers(bbox)} (x, y, width, height) extends beyond the {image.width}x{image.height} image "
        f"by {excess:.3g} pixels"
    )
    left, top = max(x, 0.0), max(y, 0.0)
    clipped = (left, top, min(x + width, image.width) - left, min(y + height, image.height) - top)
    if excess >= _CLIPPED or clipped[2] <= 0 or clipped[3] <= 0:
        return None, Cause.BOX_OUTSIDE, reason
    return clipped, Cause.BOX_CUT, f"{reason} and is clipped"


def convert_object(annotation: CocoAnnotation, image: CocoImage, include_mask: bool) -> ConvertedObject:
    """Apply the rules to one object.

    An object is left out if its box extends beyond the image by a pixel or more, or if no part of its segmentation is
    usable. It is kept and reported if its box was clipped, or if its mask extends beyond the box, is empty, or lacks
    some of its polygons.

    Args:
        annotation: the object.
        image: that the object belongs to.
        include_mask: whether masks are written; if not, the segmentation is not read.
    """
    box, cause, fault = box_in_image(annotation.bbox, image)
    findings = [Finding("box", annotation.id, cause, fault, dropped=box is None)] if cause else []
    if box is None:
        return ConvertedObject(None, None, Outcome(tuple(findings)))
    annotation = replace(annotation, bbox=box)
    if not include_mask:
        return ConvertedObject(annotation, None, Outcome(tuple(findings)))
    try:
        mask, remark = to_mask(annotation.segmentation or [], image.height, image.width)
    except BrokenSegmentation as error:
        cause = Cause.BROKEN_SEGMENTATION if annotation.segmentation else Cause.NO_POLYGONS
        broken = Finding("mask", annotation.id, cause, str(error), dropped=True)
        return ConvertedObject(None, None, Outcome((broken,)))
    reasons = [f"{remark}; left out"] if remark else []
    overlap = corner_overlap = None
    if not mask.pixels.size:
        reasons.append("the mask is empty")
    else:
        overlap = _overlap(box, mask.box)
        corner_overlap = _overlap((box[0], box[1], box[2] - box[0], box[3] - box[1]), mask.box)
        if is_outside_of_box(mask, box):
            reasons.append(f"the mask (pixels {_numbers(mask.box)}) extends beyond the box {_numbers(annotation.bbox)}")
    if reasons:
        findings.append(Finding("mask", annotation.id, Cause.MASK, "; ".join(reasons), dropped=False))
    return ConvertedObject(annotation, to_png(mask), Outcome(tuple(findings), overlap, corner_overlap))


def _overlap(box: Box, other: Box) -> float:
    """Return the IoU of two boxes (x, y, width, height), 0 if one has no area."""
    width = min(box[0] + box[2], other[0] + other[2]) - max(box[0], other[0])
    height = min(box[1] + box[3], other[1] + other[3]) - max(box[1], other[1])
    if min(width, height, *box[2:], *other[2:]) <= 0:
        return 0.0
    return width * height / (box[2] * box[3] + other[2] * other[3] - width * height)


def area_of(annotation: CocoAnnotation, image: CocoImage) -> float:
    """Return the area of an object in pixels: the annotated one, else that of its mask, else that of its box."""
    if annotation.area is not None:
        return annotation.area
    try:
        return float(coco_mask.area(to_rle(annotation.segmentation or [], image.height, image.width)))
    except BrokenSegmentation:
        return annotation.bbox[2] * annotation.bbox[3]


def _numbers(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:.10g}" for value in values) + "]"
