"""Faults in the objects of a record that a checksum cannot detect: list lengths, invalid boxes, and masks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LARGEST_LABEL = 2**31 - 1  # class ids are 32-bit in the model
SIDES = ("ymin", "xmin", "ymax", "xmax")
# Training clips boxes to the image; a box that exceeds it by more than the image's side is in other units.
_LOWEST, _HIGHEST = -1.0, 2.0

MASK_HEADER = 24
"""Bytes of a PNG up to the end of its width and height: PNG, 2nd edition (W3C, ISO/IEC 15948:2003), 5.2 and 11.2.2."""
_PNG = b"\x89PNG\r\n\x1a\n"


def list_fault(labels: Sequence[int], lengths: Sequence[int], crowds: int, masks: int) -> str:
    """Return the fault of the lists of a record, "" if there is none.

    Args:
        labels: category id of each object.
        lengths: of the list of each of :data:`SIDES`.
        crowds: length of ``is_crowd``, which may be absent (0).
        masks: length of ``mask``, 0 in records without masks.
    """
    objects = len(labels)
    for side, length in zip(SIDES, lengths, strict=True):
        if length != objects:
            return f"{_values('image/object/bbox/' + side, length)} for {_objects(objects)}"
    if crowds not in (0, objects):
        return f"{_values('image/object/is_crowd', crowds)} for {_objects(objects)}"
    if masks not in (0, objects):
        return mask_count_fault(masks, objects)
    if objects and max(labels) > LARGEST_LABEL:
        return f"image/object/class/label is {max(labels)}: category ids must be at most {LARGEST_LABEL}"
    return ""


def mask_count_fault(masks: int, objects: int) -> str:
    """Return the fault of a record whose number of masks differs from that of its objects."""
    return f"{_values('image/object/mask', masks)} for {_objects(objects)}"


def mask_fault(headers: Sequence[bytes], positions: Sequence[int], size: tuple[int, int]) -> str:
    """Return the fault of the first mask that does not fit its image, "" if there is none.

    Args:
        headers: the first :data:`MASK_HEADER` bytes of each mask, fewer if it is shorter.
        positions: index of each mask in its record.
        size: height and width of the image, 0 if unknown.
    """
    height, width = size
    valid = _PNG + struct.pack(">I4s2I", 13, b"IHDR", width, height) if _fits(width) and _fits(height) else b""
    if set(headers) <= {valid}:
        return ""
    for position, header in zip(positions, headers, strict=True):
        name = f"image/object/mask[{position}]"
        if not header:
            return f"{name} is empty: a PNG is expected"
        if len(header) < MASK_HEADER or not header.startswith(_PNG) or header[12:16] != b"IHDR":
            return f"{name} is not a PNG"
        found_width, found_height = struct.unpack(">2I", header[16:])
        if found_height != (height or found_height) or found_width != (width or found_width):
            return f"{name} is {found_width}x{found_height} (width x height), but the image is {width}x{height}"
    return ""


def _fits(side: int) -> bool:
    return 0 < side < 2**32


def without_area(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes have no area inside their image, bool [n]; training skips them.

    Args:
        boxes: float32 [n, 4], y1 x1 y2 x2 in fractions of their image.
    """
    inside = np.clip(boxes, 0.0, 1.0)
    has_area: NDArray[np.bool_] = (inside[:, :2] < inside[:, 2:]).all(axis=1)
    return ~has_area


def wrong_boxes(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes are invalid, bool [n].

    A box may exceed its image by up to the image's side, and may have no area: training clips or skips it.

    Args:
        boxes: float32 [n, 4], y1 x1 y2 x2 in fractions of their image.
    """
    with np.errstate(invalid="ignore"):
        inside = (boxes >= _LOWEST) & (boxes <= _HIGHEST)  # also false for NaN
        good: NDArray[np.bool_] = inside.all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
        return ~good


def box_fault(box: NDArray[np.float32], position: int) -> str:
    """Return the fault of an invalid box, see :func:`wrong_boxes`.

    Args:
        box: float32 [4], y1 x1 y2 x2 in fractions of its image.
        position: index of the object in its record.
    """
    for side, value in zip(SIDES, box.tolist(), strict=True):
        if not _LOWEST <= value <= _HIGHEST:
            return f"image/object/bbox/{side}[{position}] is {value:g}: a fraction of the image, 0 to 1, is expected"
    low = 0 if box[0] > box[2] else 1
    return (
        f"image/object/bbox/{SIDES[low + 2]}[{position}] is {box[low + 2]:g}, below {SIDES[low]} {box[low]:g}: "
        "the box has a negative size"
    )


def _values(field: str, count: int) -> str:
    return f"{field} has {count} value{'' if count == 1 else 's'}"


def _objects(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'} (image/object/class/label)"
