"""Conversion of COCO segmentations to masks.

Polygons are rasterized by pycocotools, the reference implementation of the format, which returns run lengths. Run
lengths are expanded here, only within the columns of the object. Input on which pycocotools would crash, or which it
would silently take for something else, is refused first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.coco import is_finite

_CHARACTERS_OF_A_RUN = 7  # 35 bits, more than any image has pixels


class BrokenSegmentation(ValueError):
    """Segmentation without any usable part; the text has the reason."""


@dataclass(frozen=True)
class Mask:
    """Smallest part of a mask that contains all its set pixels.

    Attributes:
        height: of the image in pixels.
        width: of the image in pixels.
        row: first row with a set pixel; 0 for an empty mask.
        column: first column with a set pixel; 0 for an empty mask.
        pixels: uint8 [rows, columns] of 0 and 1; [0, 0] for an empty mask.
    """

    height: int
    width: int
    row: int
    column: int
    pixels: NDArray[np.uint8]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Column, row, number of columns, number of rows, in pixels."""
        rows, columns = self.pixels.shape
        return self.column, self.row, columns, rows

    def full(self) -> NDArray[np.uint8]:
        """Return the whole mask, uint8 [height, width]."""
        whole = np.zeros((self.height, self.width), np.uint8)
        rows, columns = self.pixels.shape
        whole[self.row : self.row + rows, self.column : self.column + columns] = self.pixels
        return whole


def to_mask(segmentation: list[Any] | Mapping[str, Any], height: int, width: int) -> tuple[Mask, str]:
    """Return the mask of a segmentation, and a remark about polygons that were left out ("" if none).

    Args:
        segmentation: polygons, or run lengths as a list or as COCO's text.
        height: of the image in pixels.
        width: of the image in pixels.

    Raises:
        BrokenSegmentation: there is no usable polygon, or the run lengths do not match an image of this size.
    """
    if isinstance(segmentation, Mapping):
        return _expanded(_checked_runs(segmentation, height, width), height, width), ""
    rle, remark = _rle_of_polygons(segmentation, height, width)
    return _expanded(_decompressed(rle["counts"]), height, width), remark


def to_rle(segmentation: list[Any] | Mapping[str, Any], height: int, width: int) -> dict[str, Any]:
    """Return the mask of a segmentation as compressed run lengths (``size``, ``counts`` in bytes).

    The rules are those of :func:`to_mask`, so that evaluation and training use the same masks.

    Args:
        segmentation: polygons, or run lengths as a list or as COCO's text.
        height: of the image in pixels.
        width: of the image in pixels.

    Raises:
        BrokenSegmentation: as for :func:`to_mask`.
    """
    if not isinstance(segmentation, Mapping):
        return _rle_of_polygons(segmentation, height, width)[0]
    runs = _checked_runs(segmentation, height, width)
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode()}
    rle: dict[str, Any] = coco_mask.frPyObjects({"size": [height, width], "counts": list(runs)}, height, width)
    return rle


def _rle_of_polygons(segmentation: list[Any], height: int, width: int) -> tuple[dict[str, Any], str]:
    """Return the union of the usable polygons, and a remark about the others ("" if none)."""
    if not segmentation:
        raise BrokenSegmentation("the list of polygons is empty")
    if all(is_finite(value) for value in segmentation):
        raise BrokenSegmentation("a flat list of numbers; expected a list of polygons, each a list x, y, x, y, ...")
    faults = [_fault_of(polygon, height, width) for polygon in segmentation]
    usable = [polygon for polygon, fault in zip(segmentation, faults, strict=True) if not fault]
    remark = next((f"polygon {number}: {fault}" for number, fault in enumerate(faults) if fault), "")
    if not usable:
        raise BrokenSegmentation(remark)
    return coco_mask.merge(coco_mask.frPyObjects(usable, height, width)), remark


def is_outside_of_box(mask: Mask, bbox: tuple[float, float, float, float]) -> bool:
    """Return whether a mask exceeds its box by more than one pixel on any side.

    The mask's extent is that of its outline at level 0.5: half a pixel outside of its first and last set pixel, but
    never beyond the outermost pixels of the image, where an outline ends. Pixel centers have integer coordinates from
    0.

    Args:
        mask: not empty.
        bbox: x, y, width, height in pixels.
    """
    column, row, columns, rows = mask.box
    left, top = max(column - 0.5, 0.0), max(row - 0.5, 0.0)
    right, bottom = min(column + columns - 0.5, mask.width - 1.0), min(row + rows - 0.5, mask.height - 1.0)
    x, y, box_width, box_height = bbox
    return x - 1 > left or y - 1 > top or x + box_width + 1 < right or y + box_height + 1 < bottom


def _fault_of(polygon: Any, height: int, width: int) -> str:
    """Return the fault of a polygon, "" if there is none.

    pycocotools would read four numbers as a box, and would trace edges of any length to coordinates far away.
    """
    if not isinstance(polygon, list) or not all(is_finite(value) for value in polygon):
        return "not a list of numbers"
    if len(polygon) % 2:
        return f"{len(polygon)} numbers; expected pairs x, y"
    if len(polygon) < 6:
        return f"{len(polygon) // 2} points; expected at least 3"
    far = next((value for value in polygon[0::2] if not -width <= value <= 2 * width), None)
    if far is None:
        far = next((value for value in polygon[1::2] if not -height <= value <= 2 * height), None)
    return "" if far is None else f"coordinate {far} is farther from the {width}x{height} image than its own size"


def _checked_runs(segmentation: Mapping[str, Any], height: int, width: int) -> Sequence[int] | NDArray[np.int64]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise BrokenSegmentation(f"run lengths have size {size}: the image is [{height}, {width}] (height, width)")
    runs: list[int] | NDArray[np.int64]
    if isinstance(counts, str):
        runs = _decompressed(counts.encode("utf-8", "replace"))
        total, least = int(np.sum(runs)), int(np.min(runs, initial=0))
    elif isinstance(counts, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in counts):
        runs, total, least = counts, sum(counts), min(counts, default=0)
    else:
        raise BrokenSegmentation(
            f"counts of run lengths: expected a list of whole numbers or COCO's text, found {counts!r:.40}"
        )
    if least < 0:
        raise BrokenSegmentation("a run length is negative")
    if total != height * width:
        raise BrokenSegmentation(f"run lengths cover {total} pixels of {height * width}")
    return runs


def _decompressed(text: bytes) -> NDArray[np.int64]:
    """Return the run lengths that COCO's text encodes: 5 bits a character from code 48 on, the sixth bit means "more".

    The fifth bit of a number's last character is its sign. From the fourth run on, a number is the difference from the
    run two before it.
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if ((codes < 0) | (codes > 63)).any():
        raise BrokenSegmentation(f"counts {text!r:.40}: not COCO's compressed run lengths")
    if not len(codes):
        return codes
    last = np.flatnonzero(codes < 32)
    if not len(last) or last[-1] != len(codes) - 1:
        raise BrokenSegmentation(f"counts {text!r:.40}: COCO's compressed run lengths end too early")
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last - first + 1
    if lengths.max() > _CHARACTERS_OF_A_RUN:
        raise BrokenSegmentation(f"counts {text!r:.40}: not COCO's compressed run lengths")
    position = np.arange(len(codes)) - np.repeat(first, lengths)
    values = np.add.reduceat((codes & 31) << (5 * position), first)
    values -= (codes[last] >> 4 & 1) << (5 * lengths)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _expanded(runs: Sequence[int] | NDArray[np.int64], height: int, width: int) -> Mask:
    """Return the mask of run lengths, which run down the columns and begin with background."""
    edges = np.concatenate([[0], np.cumsum(np.asarray(runs, np.int64))])
    starts, ends = edges[1:-1:2], edges[2::2]
    filled = np.flatnonzero(ends > starts)
    if not len(filled):
        return Mask(height, width, 0, 0, np.zeros((0, 0), np.uint8))
    column, beyond = int(starts[filled[0]]) // height, int(ends[filled[-1]] - 1) // height + 1
    within = np.diff(np.clip(edges, column * height, beyond * height))
    alternating = (np.arange(len(within)) & 1).astype(np.uint8)
    columns = np.repeat(alternating, within).reshape(beyond - column, height)
    rows = np.flatnonzero(columns.any(axis=0))
    row = int(rows[0])
    return Mask(height, width, row, column, columns[:, row : int(rows[-1]) + 1].T)
