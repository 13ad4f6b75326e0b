"""Ground-truth masks for training: each instance's mask, cropped to its box and resampled to a small square.

Instances are decoded and cropped one by one, so memory never holds a stack of masks of the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maskrcnn_trainer.data.mask_png import MaskPng

CROP_BORDER = 2
"""Rows and columns of zeros around a crop, so that sampling beyond the box gives background."""


def crop_masks(
    pngs: Sequence[bytes], boxes: npt.NDArray[np.float32], flipped: bool, size: int
) -> npt.NDArray[np.uint8]:
    """Crop the masks of one image to their boxes.

    A box is divided into size x size cells, and cell (i, j) of a crop is the mask, bilinearly interpolated, at the
    center of that cell. A pixel's value applies to the pixel's center, and the mask is extended beyond the image with
    its edge values. The stored mask is sampled directly: scaling it to the padded image first, by nearest neighbor,
    would shift its outline by up to half a pixel and need a mask of that size.

    Args:
        pngs: one single-channel PNG for each instance, as large as the stored image, nonzero inside the object.
        boxes: float32 [n, 4], y1 x1 y2 x2 in fractions of the (flipped) image, with area.
        flipped: whether the image is mirrored left to right; the stored masks are not.
        size: cells along a side.

    Returns:
        uint8 [n, size + 4, size + 4], 255 inside the object, 0 outside, in between at the outline; the two outermost
        rows and columns on each side are zero.

    Raises:
        ValueError: a mask cannot be decoded.
    """
    crops = np.zeros((len(pngs), size + 2 * CROP_BORDER, size + 2 * CROP_BORDER), np.uint8)
    masks = [MaskPng(png) for png in pngs]
    y1, x1, y2, x2 = boxes.astype(np.float64).T
    if flipped:
        # Sampling from the right edge to the left mirrors the object back.
        x1, x2 = 1.0 - x1, 1.0 - x2
    top, bottom, down = _taps(y1, y2, [mask.height for mask in masks], size)
    left, right, across = _taps(x1, x2, [mask.width for mask in masks], size)
    first_rows, last_rows = top[:, 0], bottom[:, -1]
    first_columns, last_columns = np.minimum(left[:, 0], left[:, -1]), np.maximum(right[:, 0], right[:, -1])
    top, bottom = top - first_rows[:, None], bottom - first_rows[:, None]
    left, right = left - first_columns[:, None], right - first_columns[:, None]
    for k, mask in enumerate(masks):
        rows = mask.rows(int(first_rows[k]), int(last_rows[k]))
        inside = (rows[:, first_columns[k] : last_columns[k] + 1] != 0).astype(np.float32)
        lines = _between(inside, top[k], bottom[k], down[k, :, None], axis=0)
        cells = _between(lines, left[k], right[k], across[k], axis=1)
        crops[k, CROP_BORDER:-CROP_BORDER, CROP_BORDER:-CROP_BORDER] = cells * 255.0 + 0.5
    return crops


def _taps(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], lengths: Sequence[int], size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the two pixels next to each cell's center and the center's distance from the first, [n, size] each."""
    length = np.asarray(lengths, np.float64)[:, None]
    share = (np.arange(size) + 0.5) / size
    centers = (start[:, None] + (end - start)[:, None] * share) * length - 0.5
    centers = np.clip(centers, 0.0, length - 1.0)
    before = centers.astype(np.int64)
    return before, np.minimum(before + 1, length.astype(np.int64) - 1), (centers - before).astype(np.float32)


def _between(
    values: npt.NDArray[np.float32],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    fraction: npt.NDArray[np.float32],
    axis: int,
) -> npt.NDArray[np.float32]:
    low = values.take(before, axis=axis)
    high = values.take(after, axis=axis)
    high -= low
    high *= fraction
    high += low
    return high
