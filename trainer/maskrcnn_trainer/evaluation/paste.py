"""Masks of a detection's box grid, put back into the image.

The rule is that of Mask R-CNN (He et al., 2017, section 3.1) as Detectron2 words it: the grid of probabilities is
resampled bilinearly over the box, cell centres and pixel centres at half integers, zero outside the grid, and a pixel
is inside where the result is at least 0.5. Since box and image axes are parallel, rows and columns are resampled one
after the other; only the pixels whose centres lie in the box are computed, and run lengths are made from these alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

MASK_THRESHOLD = 0.5

FloatArray = NDArray[np.floating[Any]]
Rle = dict[str, Any]


def mask_probabilities(mask_logits: FloatArray) -> NDArray[np.float32]:
    """The sigmoid of logits of any shape, float32 and free of overflow."""
    half = np.multiply(mask_logits, 0.5, dtype=np.float32)
    probabilities: NDArray[np.float32] = (0.5 * np.tanh(half) + 0.5).astype(np.float32)
    return probabilities


def paste_region(
    probabilities: NDArray[np.float32], box: FloatArray, height: int, width: int
) -> tuple[NDArray[np.bool_], int, int]:
    """The part of one mask that can be inside.

    Args:
        probabilities: float [M, M], 0..1, rows are y.
        box: y1, x1, y2, x2 in pixels of the image, need not lie within it.
        height, width: the image's size in pixels.

    Returns:
        (region bool [columns, rows], first row, first column): transposed, in the order in which COCO's run lengths
        go; empty where no pixel's centre lies in both box and image.
    """
    y1, x1, y2, x2 = (float(value) for value in box)
    top, row_cell, row_share = _interpolation(y1, y2, probabilities.shape[0], height)
    left, column_cell, column_share = _interpolation(x1, x2, probabilities.shape[1], width)
    if not (len(row_cell) and len(column_cell)):
        return np.zeros((0, 0), bool), 0, 0
    grid = np.pad(probabilities, 1)
    rows = np.ascontiguousarray(_interpolate(grid, row_cell, row_share).T)
    return _interpolate(rows, column_cell, column_share) >= MASK_THRESHOLD, top, left


def _interpolation(low: float, high: float, cells: int, size: int) -> tuple[int, NDArray[np.intp], NDArray[np.float32]]:
    """Where the pixels whose centres are in [low, high] and [0, size] fall on a grid with one more cell at either end.

    Returns:
        (first pixel, cell before each pixel, share 0..1 of the cell after it).
    """
    first = end = 0
    if np.isfinite(low) and np.isfinite(high) and high > low:
        first = max(0, int(np.ceil(low - 0.5)))
        end = max(first, min(size, int(np.floor(high - 0.5)) + 1))
    position = (np.arange(first, end) + 0.5 - low) * (cells / max(high - low, 1e-12)) + 0.5
    cell = np.clip(np.floor(position), 0, cells).astype(np.intp)
    return first, cell, (position - cell).astype(np.float32)


def _interpolate(grid: NDArray[np.float32], cell: NDArray[np.intp], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of ``grid`` [cells, n] at the places given: [pixels, n]. Takes of rows beat a matrix product here, whose
    threads would fight with those of the network."""
    result = np.diff(grid, axis=0).take(cell, axis=0)
    result *= share[:, None]
    result += grid.take(cell, axis=0)
    return result


def paste_mask(mask_logits: FloatArray, box: FloatArray, height: int, width: int) -> NDArray[np.bool_]:
    """One mask at the image's size: logits [M, M] over a box y1, x1, y2, x2 -> bool [height, width]."""
    mask = np.zeros((height, width), bool)
    region, top, left = paste_region(mask_probabilities(mask_logits), box, height, width)
    mask[top : top + region.shape[1], left : left + region.shape[0]] = region.T
    return mask


def encode_masks(mask_logits: FloatArray, boxes: FloatArray, height: int, width: int) -> list[Rle]:
    """Masks as COCO's compressed run lengths: logits [D, M, M] over boxes [D, 4] -> D of {size, counts (str)}."""
    probabilities = mask_probabilities(mask_logits)
    counts = []
    for grid, box in zip(probabilities, np.asarray(boxes, np.float64), strict=True):
        region, top, left = paste_region(grid, box, height, width)
        counts.append({"size": [height, width], "counts": run_lengths(region, top, left, height, width)})
    encoded: list[Rle] = coco_mask.frPyObjects(counts, height, width) if counts else []
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in encoded]


def run_lengths(region: NDArray[np.bool_], top: int, left: int, height: int, width: int) -> list[int]:
    """COCO's uncompressed run lengths, column by column and beginning with zeros, of an image with one region in it.

    Args:
        region: bool [columns, rows], its first pixel at row ``top`` and column ``left``.
    """
    total = height * width
    columns, rows = region.shape
    if region.size == 0:
        return [total]
    edged = np.zeros((columns, rows + 1), np.int8)
    edged[:, :rows] = region
    change = np.diff(edged.ravel(), prepend=np.int8(0))
    places = np.flatnonzero(change)
    column, row = np.divmod(places, rows + 1)
    bounds = (left + column) * height + top + row  # start, end, start, end, ...
    if rows == height:  # a run that reaches the bottom goes on at the top of the next column
        starts, ends = bounds[0::2], bounds[1::2]
        joined = starts[1:] == ends[:-1]
        keep = np.ones(len(bounds), bool)
        keep[2::2] = ~joined
        keep[1:-1:2] = ~joined
        bounds = bounds[keep]
    lengths = np.diff(np.concatenate(([0], bounds, [total])))
    counts: list[int] = (lengths[:-1] if lengths[-1] == 0 else lengths).tolist()
    return counts
