"""Decoding of the rows of a stored mask that are needed.

A mask is a single-channel PNG as large as its image, and nearly all of it is background. Most of the time goes into
inflating, so it stops below the object; and rows with a simple filter are restored without the rows above. PNG, 2nd
edition (W3C, ISO/IEC 15948:2003), sections 9 (filtering) and 10 (compression).
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt

from maskrcnn_trainer.images.png_chunks import SIGNATURE

_GRAY_8_BIT = (8, 0, 0, 0, 0)  # bit depth, color type, compression, filter method, no interlace
_NONE, _SUB, _UP = 0, 1, 2


class MaskPng:
    """Mask in a PNG file, decoded on demand.

    Args:
        png: the bytes of a PNG file.

    Raises:
        ValueError: the bytes are not a PNG that can be decoded (also raised by ``rows``).
    """

    def __init__(self, png: bytes) -> None:
        if png[:8] != SIGNATURE or png[12:16] != b"IHDR" or len(png) < 33:
            raise ValueError("a mask is not a PNG")
        self._png = png
        self.width, self.height = struct.unpack_from(">II", png, 16)
        self._simple = struct.unpack_from(">5B", png, 24) == _GRAY_8_BIT

    def rows(self, first: int, last: int) -> npt.NDArray[np.uint8]:
        """Return rows first to last (inclusive), uint8 [last - first + 1, width]; nonzero inside the object."""
        rows = self._restored(first, last) if self._simple else None
        return self._decoded()[first : last + 1] if rows is None else rows

    def _restored(self, first: int, last: int) -> npt.NDArray[np.uint8] | None:
        """Return the rows, or None if a filter mixes both directions (Average, Paeth)."""
        pitch = self.width + 1
        size = (last + 1) * pitch
        try:
            inflated = zlib.decompressobj().decompress(self._data(), size)
        except zlib.error as error:
            raise ValueError(f"a mask's PNG is damaged: {error}") from error
        if len(inflated) != size:
            raise ValueError("a mask's PNG is truncated")
        lines = np.frombuffer(inflated, np.uint8).reshape(last + 1, pitch)
        filters, values = lines[:, 0], lines[:, 1:]
        needed = filters[first:]
        if not needed.any():
            return values[first:]
        if (needed == _SUB).all():
            return np.cumsum(values[first:], axis=1, dtype=np.uint8)
        # A row of filter Up adds to the row above: start at the last row that does not depend on another one.
        independent = np.flatnonzero(filters[: first + 1] <= _SUB)
        start = int(independent[-1]) if len(independent) else 0
        if (filters[start:] > _UP).any():
            return None
        rows = values[start:].copy()
        subtracted = np.flatnonzero(filters[start:] == _SUB)
        rows[subtracted] = np.cumsum(rows[subtracted], axis=1, dtype=np.uint8)
        for row in np.flatnonzero(filters[start:] == _UP):
            if row > 0:
                rows[row] += rows[row - 1]
        return rows[first - start :]

    def _data(self) -> bytes:
        parts, position = [], 8
        while position + 8 <= len(self._png):
            length, kind = struct.unpack_from(">I4s", self._png, position)
            if kind == b"IDAT":
                parts.append(self._png[position + 8 : position + 8 + length])
            elif parts:
                break
            position += 12 + length
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _decoded(self) -> npt.NDArray[np.uint8]:
        image = cv2.imdecode(np.frombuffer(self._png, np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise ValueError("a mask's PNG cannot be decoded")
        return np.asarray(image, np.uint8)
