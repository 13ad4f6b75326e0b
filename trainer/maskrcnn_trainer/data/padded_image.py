"""The padded image, which is the network's input, computed in NumPy; ``data.transforms`` computes it in the graph.

Both give the same bits, as a test checks.

The arithmetic is that of ``tf.image.resize`` (bilinear, half-pixel centers, no antialiasing), in the same order and
precision: positions in float32, columns first, then rows. OpenCV's resize is up to 10 times as fast at 832x1344, but
computes positions in float64, which changes values by up to 0.012 of 255 (40 COCO images). The slower code does not
delay inference, which prepares images while the network runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEAN = (0.485, 0.456, 0.406)
"""Mean of the ImageNet images, RGB in 0..1."""

STD = 0.224
"""Standard deviation, one for all channels: inference runtimes such as DeepStream accept a single scale factor."""

_SLACK = 1e-6  # as in data.transforms


@dataclass(frozen=True)
class PaddedImage:
    """Image that was resized, normalized, and padded.

    Attributes:
        pixels: float32 [H, W, 3], normalized; zeros below and to the right of the image.
        image_info: float32 [5]: height and width of the part shown, 1 / scale, stored height and width.
    """

    pixels: NDArray[np.float32]
    image_info: NDArray[np.float32]


def pad_image(image: NDArray[np.uint8], size: tuple[int, int]) -> PaddedImage:
    """Resize an image to fit, normalize it, and pad it.

    The aspect ratio is kept, and the sizes are truncated to whole pixels.

    Args:
        image: uint8 [h, w, 3], RGB.
        size: height and width of the padded image.
    """
    sides = np.array(image.shape[:2], np.float64)
    scale = np.min(np.array(size, np.float64) / sides)
    height, width = np.maximum(np.floor(scale * sides + _SLACK).astype(np.int64), 1).tolist()
    pixels = np.zeros((*size, 3), np.float32)
    shown = pixels[:height, :width]
    np.divide(resize(image, height, width), np.float32(255.0), out=shown)
    shown -= np.array(MEAN, np.float32)
    shown /= np.float32(STD)
    info = np.array([height, width, np.float32(1.0) / np.float32(scale), *image.shape[:2]], np.float32)
    return PaddedImage(pixels, info)


def resize(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """Resize uint8 [h, w, c] to float32 [height, width, c], values 0..255."""
    rows_before, rows_after, row_share = _positions(image.shape[0], height)
    columns_before, columns_after, column_share = _positions(image.shape[1], width)
    pixels = image.astype(np.float32)
    lines = _between(pixels, 1, columns_before, columns_after, column_share[:, None])
    return _between(lines, 0, rows_before, rows_after, row_share[:, None, None])


def _positions(old: int, new: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return for each new pixel the old pixel before it, the one after it, and the weight of the latter."""
    scale = np.float32(old) / np.float32(new)
    position = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(position)
    before = np.maximum(floor, 0).astype(np.intp)
    after = np.minimum(np.ceil(position).astype(np.intp), old - 1)
    return before, after, position - floor


def _between(
    values: NDArray[np.float32],
    axis: int,
    before: NDArray[np.intp],
    after: NDArray[np.intp],
    share: NDArray[np.float32],
) -> NDArray[np.float32]:
    low = values.take(before, axis)
    result: NDArray[np.float32] = values.take(after, axis)
    result -= low
    result *= share
    result += low
    return result
