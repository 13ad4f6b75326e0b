"""Encoding of masks as PNG, in a time that depends on the size of the object and not of the image.

PNG, 2nd edition (W3C, ISO/IEC 15948:2003); zlib streams: RFC 1950, RFC 1951.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np

from maskrcnn_trainer.data.segmentations import Mask
from maskrcnn_trainer.images.png_chunks import SIGNATURE

_ZLIB_HEADER = b"\x78\x01"  # deflate, window of 32 KiB, fastest
_ADLER_MODULUS = 65521
_BLANK = 32768  # bytes of zeros that are compressed only once


def to_png(mask: Mask) -> bytes:
    """Return a single-channel 8-bit PNG as large as the image, with values 0 and 1.

    Rows are not filtered, so that a reader can stop below the object, and the compressor searches for runs only. The
    blank rows above and below the object consist mostly of copies of one compressed block.
    """
    pitch = 1 + mask.width  # a row begins with the number of its filter: 0 for none
    column, row, columns, rows = mask.box
    above, below = row * pitch, (mask.height - row - rows) * pitch
    blanks_above, blanks_below = above // _BLANK, below // _BLANK
    lines = np.zeros(above % _BLANK + rows * pitch + below % _BLANK, np.uint8)
    start = above % _BLANK
    lines[start : start + rows * pitch].reshape(rows, pitch)[:, 1 + column : 1 + column + columns] = mask.pixels
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 8, zlib.Z_RLE)
    middle = compressor.compress(lines.data) + compressor.flush(zlib.Z_FULL_FLUSH)
    check = _after_zeros(1, blanks_above * _BLANK)
    check = zlib.adler32(lines.data, check)
    check = _after_zeros(check, blanks_below * _BLANK)
    blank, end = _blank_blocks()
    data = (_ZLIB_HEADER, blank * blanks_above, middle, blank * blanks_below, end, struct.pack(">I", check))
    header = struct.pack(">IIBBBBB", mask.width, mask.height, 8, 0, 0, 0, 0)
    return b"".join((SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", b"".join(data)), _chunk(b"IEND", b"")))


@lru_cache(maxsize=1)
def _blank_blocks() -> tuple[bytes, bytes]:
    """Return compressed zeros that end on a whole byte and do not refer to earlier data, and the end of a stream."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    blank = compressor.compress(bytes(_BLANK)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return blank, compressor.flush(zlib.Z_FINISH)


def _after_zeros(adler: int, count: int) -> int:
    """Return Adler-32 after `count` more zero bytes: the first sum stays, and is added to the second for each byte."""
    low, high = adler & 0xFFFF, adler >> 16
    return ((high + low * count) % _ADLER_MODULUS) << 16 | low


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))
