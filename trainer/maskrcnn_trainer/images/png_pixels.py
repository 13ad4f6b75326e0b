"""Check of the pixels of a PNG file for damage that Pillow accepts but TensorFlow, which reads the records, refuses.

W3C PNG, 3rd edition (https://www.w3.org/TR/png-3/): 7.2 rows, 8.1 passes, 10.1 compression.
"""

from __future__ import annotations

import itertools
import struct
import zlib

from maskrcnn_trainer.images.decode import UnreadableImage
from maskrcnn_trainer.images.png_chunks import chunks

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of an interlaced image: first column, first row, step between columns, step between rows."""
_INFLATED_AT_ONCE = 1 << 20


def check_pixels(data: bytes) -> None:
    """Check the pixel data of a PNG file whose chunks are valid; Pillow fills missing rows and ignores the checksum.

    Raises:
        UnreadableImage: the compressed stream is invalid, or ends before its last row or before its checksum.
    """
    parts = list(chunks(data))
    expected, found, stream = _inflated_bytes(bytes(parts[0][1])), 0, zlib.decompressobj()
    run = itertools.takewhile(
        lambda part: part[0] == b"IDAT", itertools.dropwhile(lambda part: part[0] != b"IDAT", parts)
    )
    try:
        for _, part in run:
            rest: bytes | memoryview = part
            while rest and not stream.eof:
                found += len(stream.decompress(rest, _INFLATED_AT_ONCE))
                rest = stream.unconsumed_tail
                if found > expected:
                    return  # decoders ignore excess data
    except zlib.error:
        raise UnreadableImage("is damaged: its compressed pixels (IDAT chunks) are not a valid zlib stream") from None
    if found < expected:
        raise UnreadableImage(f"is cut off: it has {found:,} of {expected:,} bytes of pixels")
    if not stream.eof:
        raise UnreadableImage("is cut off: the checksum of its pixels is missing")


def _inflated_bytes(header: bytes) -> int:
    """Return the number of bytes of all rows, each with its filter byte, for an IHDR chunk."""
    width, height, depth, color_type, _, _, interlace = struct.unpack(">2I5B", header)
    bits = depth * _CHANNELS.get(color_type, 0)
    passes = _PASSES if interlace else ((0, 0, 1, 1),)
    total = 0
    for column, row, across, down in passes:
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total
