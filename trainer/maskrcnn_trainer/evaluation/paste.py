"""Pasting of predicted masks into the image, for evaluation and inference.

The rule is that of Mask R-CNN (He et al., 2017, section 3.1): the grid of probabilities is resampled bilinearly over
the box, with cell centers and pixel centers at half integers and zeros outside the grid. There are two versions:

- "pixel_centers", of Detectron2 and MMDetection: the grid is sampled at the centers of the pixels in the box, and a
  pixel is inside where the result is at least 0.5.
- "whole_pixels", of torchvision (0.14, ``models/detection/roi_heads.py``): the grid gets one more cell of zeros on each
  side, the box grows in proportion, its corners are rounded toward zero to whole pixels, and the grid is resized to the
  pixels from the first corner to the last, both included. A pixel is inside where the result is above 0.5. Masks are
  thus up to a pixel off their boxes.

Box and image axes are parallel, so rows and columns are resampled one after the other; only pixels that the box covers
are computed and encoded as run lengths.

Measured for 100 detections, with run lengths, in CPU time (``benchmarks/paste.py``): compared with OpenCV's
``warpAffine`` and pycocotools' ``encode`` 0.7 to 1.0 times as fast at 256x256, 2 times at 480x640, and 4.6 to 9 times
at 1200x1600, where whole masks cost most. OpenCV rounds positions to 1/32 pixel, which changes 0.14% of the pixels.
Matrix products over the whole image for all masks at once give the same pixels and are 50 to 130 times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.model.architecture import MaskPasting

MASK_THRESHOLD = 0.5

FARTHEST = 1e9
"""Pixels from the image beyond which a box isn't pasted by whole pixels; float32 could not hold its corners."""

FloatArray = NDArray[np.floating[Any]]
Rle = dict[str, Any]


def mask_probabilities(mask_logits: FloatArray) -> NDArray[np.float32]:
    """Return the sigmoid of logits of any shape, in float32 and without overflow."""
    half = np.multiply(mask_logits, 0.5, dtype=np.float32)
    probabilities: NDArray[np.float32] = (0.5 * np.tanh(half) + 0.5).astype(np.float32)
    return probabilities


class PastedMask(NamedTuple):
    """One mask as the region of the image that it can cover; all other pixels are zeros."""

    region: NDArray[np.bool_]
    """[columns, rows]: transposed to the order of COCO's run lengths; empty if no pixel lies in both box and image."""
    top: int
    """First row of the region."""
    left: int
    """First column of the region."""

    def whole(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the mask at the image's size, [height, width]."""
        mask = np.zeros((height, width), bool)
        mask[self.top : self.top + self.region.shape[1], self.left : self.left + self.region.shape[0]] = self.region.T
        return mask


class _Axis(NamedTuple):
    """Pixels of an axis that a mask can cover, and their positions on a grid with one extra cell at either end."""

    first: int
    """First pixel."""
    cell: NDArray[np.intp]
    """Cell before each pixel."""
    share: NDArray[np.float32]
    """Weight 0..1 of the cell after it."""


def paste_masks(
    mask_logits: FloatArray, boxes: FloatArray, height: int, width: int, pasting: MaskPasting = "pixel_centers"
) -> list[PastedMask]:
    """Return the masks of one image at their place in it.

    Args:
        mask_logits: [D, M, M], rows are y.
        boxes: [D, 4], y1, x1, y2, x2 in pixels of the image; may extend beyond it.
        height: height of the image in pixels.
        width: width of the image in pixels.
        pasting: which pixels are inside, see above.
    """
    grids = np.pad(mask_probabilities(mask_logits), ((0, 0), (1, 1), (1, 1)))
    return [
        _paste(grid, box, height, width, pasting)
        for grid, box in zip(grids, np.asarray(boxes, np.float64).tolist(), strict=True)
    ]


def _paste(
    grid: NDArray[np.float32], box: Sequence[float], height: int, width: int, pasting: MaskPasting
) -> PastedMask:
    """Paste one grid of probabilities with a border of zeros, [M + 2, M + 2]."""
    y1, x1, y2, x2 = box
    positions = _at_pixel_centers if pasting == "pixel_centers" else _at_whole_pixels
    rows = positions(y1, y2, grid.shape[0] - 2, height)
    columns = positions(x1, x2, grid.shape[1] - 2, width)
    if not (len(rows.cell) and len(columns.cell)):
        return PastedMask(np.zeros((0, 0), bool), 0, 0)
    resampled = np.ascontiguousarray(_interpolate(grid, rows.cell, rows.share).T)
    values = _interpolate(resampled, columns.cell, columns.share)
    inside = values >= MASK_THRESHOLD if pasting == "pixel_centers" else values > MASK_THRESHOLD
    return PastedMask(inside, rows.first, columns.first)


def _at_pixel_centers(low: float, high: float, cells: int, size: int) -> _Axis:
    """Return the pixels whose centers lie in both [low, high] and [0, size]."""
    first = end = 0
    if np.isfinite(low) and np.isfinite(high) and high > low:
        first = max(0, int(np.ceil(low - 0.5)))
        end = max(first, min(size, int(np.floor(high - 0.5)) + 1))
    position = (np.arange(first, end) + (0.5 - low)) * (cells / max(high - low, 1e-12)) + 0.5
    cell = np.minimum(np.maximum(position, 0).astype(np.intp), cells)
    return _Axis(first, cell, (position - cell).astype(np.float32))


def _at_whole_pixels(low: float, high: float, cells: int, size: int) -> _Axis:
    """Return the pixels of [low, high], widened by one cell on each side, in [0, size]."""
    if not (abs(low) < FARTHEST and abs(high) < FARTHEST):
        return _Axis(0, np.zeros(0, np.intp), np.zeros(0, np.float32))
    # In float32, as in torchvision: it decides which pixel a corner is rounded to.
    half = np.float32((np.float32(high) - np.float32(low)) * np.float32(0.5)) * np.float32((cells + 2) / cells)
    middle = np.float32((np.float32(high) + np.float32(low)) * np.float32(0.5))
    start, last = int(middle - half), int(middle + half)
    count = max(1, last - start + 1)
    first, end = max(0, start), min(size, last + 1)
    position = (np.arange(first, max(first, end)) - start + 0.5) * ((cells + 2) / count) - 0.5
    position = np.clip(position, 0.0, cells + 1.0)
    cell = np.minimum(position.astype(np.intp), cells)
    return _Axis(first, cell, (position - cell).astype(np.float32))


def _interpolate(grid: NDArray[np.float32], cell: NDArray[np.intp], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of ``grid`` [cells, n], interpolated at the given positions: [pixels, n].

    Indexing is faster here than a matrix product, whose threads would compete with those of the network.
    """
    result: NDArray[np.float32] = (grid[1:] - grid[:-1]).take(cell, axis=0)
    result *= share[:, None]
    result += grid.take(cell, axis=0)
    return result


def encode_pasted(masks: Sequence[PastedMask], height: int, width: int) -> list[Rle]:
    """Return the masks of one image as COCO's compressed run lengths: {size, counts (str)} each."""
    counts = [{"size": [height, width], "counts": run_lengths(*mask, height, width)} for mask in masks]
    encoded: list[Rle] = coco_mask.frPyObjects(counts, height, width) if counts else []
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")} for rle in encoded]


def run_lengths(region: NDArray[np.bool_], top: int, left: int, height: int, width: int) -> list[int]:
    """Return COCO's uncompressed run lengths of an image with one region, column by column and starting with zeros.

    Args:
        region: bool [columns, rows].
        top: row of the region's first pixel.
        left: column of the region's first pixel.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """
    total = height * width
    columns, rows = region.shape
    if region.size == 0:
        return [total]
    # Add a zero before the first pixel and one after each column, so that every run has a start and an end.
    edged = np.zeros(1 + columns * (rows + 1), bool)
    edged[1:].reshape(columns, rows + 1)[:, :rows] = region
    changes = np.flatnonzero(edged[1:] != edged[:-1])
    column, row = np.divmod(changes, rows + 1)
    bounds = (left + column) * height + top + row  # start, end, start, end, ...
    if rows == height:  # a run that reaches the bottom continues at the top of the next column
        starts, ends = bounds[0::2], bounds[1::2]
        joined = starts[1:] == ends[:-1]
        keep = np.ones(len(bounds), bool)
        keep[2::2] = ~joined
        keep[1:-1:2] = ~joined
        bounds = bounds[keep]
    lengths = np.diff(np.concatenate(([0], bounds, [total])))
    counts: list[int] = (lengths[:-1] if lengths[-1] == 0 else lengths).tolist()
    return counts
