"""Faults in the objects of a record that no checksum shows: lists of different lengths and invalid boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LARGEST_LABEL = 2**31 - 1  # class ids are 32-bit in the model
SIDES = ("ymin", "xmin", "ymax", "xmax")
# training cuts boxes at the image; one that leaves it by more than its side is in other units
_LOWEST, _HIGHEST = -1.0, 2.0


def list_fault(labels: Sequence[int], lengths: Sequence[int], crowds: int) -> str:
    """Return what is wrong with the lists of a record, "" if nothing.

    Args:
        labels: category id of each object.
        lengths: of the lists of each of :data:`SIDES`.
        crowds: length of ``is_crowd``, which may be absent (0).
    """
    objects = len(labels)
    for side, length in zip(SIDES, lengths, strict=True):
        if length != objects:
            return f"{_values('image/object/bbox/' + side, length)} for {_objects(objects)}"
    if crowds not in (0, objects):
        return f"{_values('image/object/is_crowd', crowds)} for {_objects(objects)}"
    if objects and max(labels) > LARGEST_LABEL:
        return f"image/object/class/label is {max(labels)}: category ids must be at most {LARGEST_LABEL}"
    return ""


def wrong_boxes(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which boxes, float32 [n, 4] in fractions of their image (y1 x1 y2 x2), cannot be boxes, bool [n].

    A box may leave its image by as much as the side of the image, and may have no area: training cuts or skips it.
    """
    with np.errstate(invalid="ignore"):
        inside = (boxes >= _LOWEST) & (boxes <= _HIGHEST)  # false for NaN, too
        good: NDArray[np.bool_] = inside.all(axis=1) & (boxes[:, :2] <= boxes[:, 2:]).all(axis=1)
        return ~good


def box_fault(box: NDArray[np.float32], position: int) -> str:
    """Return what is wrong with a box of :func:`wrong_boxes`, the object at `position` of its record."""
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
