"""Segmentations of COCO as masks: checked, rasterised, measured, and written as PNG.

Polygons and run lengths are turned into masks by pycocotools, the reference implementation of the format. What it would
crash on, read past, or silently take for something else is refused before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.data.coco import is_finite

Rle = dict[str, Any]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class BrokenSegmentation(ValueError):  # noqa: N818 - it is a segmentation that is broken
    """Nothing of a segmentation can be used; the text says why."""


def to_rle(segmentation: list[Any] | Mapping[str, Any], height: int, width: int) -> tuple[Rle, str]:
    """The compressed run lengths of a segmentation, and a remark about parts of it that were left out ("" if none).

    Args:
        segmentation: polygons, or run lengths as a list or as COCO's text.
        height: of the image in pixels; width: the same.

    Raises:
        BrokenSegmentation: no usable polygon, or run lengths that do not describe an image of this size.
    """
    if isinstance(segmentation, Mapping):
        return _checked_runs(segmentation, height, width), ""
    if not segmentation:
        raise BrokenSegmentation("the list of polygons is empty")
    if all(is_finite(value) for value in segmentation):
        raise BrokenSegmentation("a flat list of numbers: a list of polygons, each a list x, y, x, y, ..., is wanted")
    faults = [_fault_of(polygon, height, width) for polygon in segmentation]
    usable = [polygon for polygon, fault in zip(segmentation, faults, strict=True) if not fault]
    remark = next((f"polygon {number}: {fault}" for number, fault in enumerate(faults) if fault), "")
    if not usable:
        raise BrokenSegmentation(remark)
    rle: Rle = coco_mask.merge(coco_mask.frPyObjects(usable, height, width))
    return rle, remark


def decode(rle: Rle) -> NDArray[np.uint8]:
    """The mask, uint8 [height, width] of 0 and 1."""
    mask: NDArray[np.uint8] = coco_mask.decode(rle)
    return mask


def pixel_box(rle: Rle) -> tuple[int, int, int, int]:
    """First column, first row, number of columns and of rows that hold the set pixels; all 0 for an empty mask."""
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    return x, y, width, height


def is_outside_of_box(
    pixels: tuple[int, int, int, int], bbox: tuple[float, float, float, float], height: int, width: int
) -> bool:
    """Whether a mask reaches out of its box grown by one pixel on each side.

    The mask's extent is that of its outline at level 0.5: half a pixel outside of its first and last set pixel, at
    most up to the outermost pixels of the image, where an outline ends. Coordinates count pixel centres from 0.

    Args:
        pixels: of :func:`pixel_box`, not empty.
        bbox: x, y, width, height.
        height: of the image; width: the same.
    """
    column, row, columns, rows = pixels
    left, top = max(column - 0.5, 0.0), max(row - 0.5, 0.0)
    right, bottom = min(column + columns - 0.5, width - 1.0), min(row + rows - 0.5, height - 1.0)
    x, y, box_width, box_height = bbox
    return x - 1 > left or y - 1 > top or x + box_width + 1 < right or y + box_height + 1 < bottom


def to_png(mask: NDArray[np.uint8], pixels: tuple[int, int, int, int]) -> bytes:
    """A single-channel 8-bit PNG of a mask, as large as the image, values 0 and 1.

    No row is filtered and the compressor looks for runs only: half the time and half the bytes of an encoder for
    photographs, and a reader can stop below the object.

    Args:
        mask: uint8 [height, width] of 0 and 1; pixels: of :func:`pixel_box`.
    """
    height, width = mask.shape
    column, row, columns, rows = pixels
    lines = np.zeros((height, 1 + width), np.uint8)  # each begins with the number of its filter: 0, none
    window = slice(column, column + columns)
    lines[row : row + rows, 1 + window.start : 1 + window.stop] = mask[row : row + rows, window]
    compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 8, zlib.Z_RLE)
    data = compressor.compress(lines.data) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join((_PNG_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


def _fault_of(polygon: Any, height: int, width: int) -> str:
    """What is wrong with a polygon, "" if nothing.

    A list of four numbers would be taken for a box by pycocotools, and coordinates far away would make it walk edges of
    any length.
    """
    if not isinstance(polygon, list) or not all(is_finite(value) for value in polygon):
        return "not a list of numbers"
    if len(polygon) % 2:
        return f"{len(polygon)} numbers: pairs x, y are wanted"
    if len(polygon) < 6:
        return f"{len(polygon) // 2} points: at least 3 are wanted"
    far = next((value for value in polygon[0::2] if not -width <= value <= 2 * width), None)
    if far is None:
        far = next((value for value in polygon[1::2] if not -height <= value <= 2 * height), None)
    return "" if far is None else f"coordinate {far} is farther from the {width}x{height} image than its own size"


def _checked_runs(segmentation: Mapping[str, Any], height: int, width: int) -> Rle:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise BrokenSegmentation(f"run lengths have size {size}: the image is [{height}, {width}] (height, width)")
    if isinstance(counts, str):
        runs = _decompressed(counts)
    elif isinstance(counts, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in counts):
        runs = counts
    else:
        raise BrokenSegmentation(
            f"counts of run lengths: a list of whole numbers or COCO's text is wanted, not {counts!r:.40}"
        )
    if any(run < 0 for run in runs):
        raise BrokenSegmentation("a run length is negative")
    if sum(runs) != height * width:
        raise BrokenSegmentation(f"run lengths cover {sum(runs)} pixels of {height * width}")
    if isinstance(counts, str):
        return {"size": [height, width], "counts": counts.encode("ascii")}
    rle: Rle = coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return rle


def _decompressed(text: str) -> list[int]:
    """The run lengths behind COCO's text: 5 bits a character from code 48 on, the sixth says that more follow.

    From the fourth run on, a number is the difference from the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("utf-8"):
        bits = code - 48
        if not 0 <= bits < 64 or shift > 30:
            raise BrokenSegmentation(f"counts {text!r:.40}: not COCO's compressed run lengths")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise BrokenSegmentation(f"counts {text!r:.40}: COCO's compressed run lengths end too early")
    return runs
