"""Check of the chunks of a PNG file for damage that Pillow accepts but TensorFlow, which reads the records, refuses.

W3C PNG, 3rd edition (https://www.w3.org/TR/png-3/): 5.3 layout of a chunk, 5.6 order, 11.2 critical chunks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from maskrcnn_trainer.images.decode import UnreadableImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAME = 12  # bytes of a chunk in addition to its data: length, type, checksum
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
_HEADER_BYTES = 13
_PALETTE = 3  # color type
_PALETTE_BYTES = range(3, 3 * 256 + 1, 3)


def check_chunks(data: bytes) -> bool:
    """Check the chunks of a PNG file, and return whether the last chunk (IEND) is present.

    Data chunks that aren't consecutive aren't checked; the decoder only uses the first consecutive ones.

    Raises:
        UnreadableImage: a checksum is wrong, a critical chunk is unknown, or a required chunk is missing, misplaced,
            repeated, or damaged.
    """
    seen: set[bytes] = set()
    color_type = -1
    for kind, body in chunks(data):
        name = kind.decode("latin-1")
        if not (kind.isalpha() and kind.isascii()):
            raise UnreadableImage(f"is damaged: {name!a} is not a valid chunk type")
        if not seen and kind != b"IHDR":
            raise UnreadableImage(f"is damaged: its first chunk is {name}, expected IHDR")
        if kind in seen and kind in (b"IHDR", b"PLTE"):
            raise UnreadableImage(f"is damaged: it has two {name} chunks")
        if kind == b"IHDR":
            if len(body) != _HEADER_BYTES or body[10]:
                raise UnreadableImage("is damaged: its IHDR chunk has an invalid length or compression method")
            color_type = body[9]
        elif color_type == _PALETTE and kind == b"PLTE" and len(body) not in _PALETTE_BYTES:
            raise UnreadableImage(f"is damaged: its PLTE chunk has {len(body)} bytes, which isn't 1 to 256 colors")
        elif color_type == _PALETTE and kind == b"IDAT" and b"PLTE" not in seen:
            raise UnreadableImage("is damaged: it has no palette (PLTE chunk) before its pixels")
        elif kind[:1].isupper() and kind not in _CRITICAL:
            raise UnreadableImage(f"is damaged: it has an unknown critical chunk {name}")
        seen.add(kind)
    return b"IEND" in seen


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and data of each chunk up to IEND, or up to a truncated chunk at the end of the file.

    TensorFlow checks the checksums of pixel data; Pillow does not.

    Raises:
        UnreadableImage: a checksum is wrong.
    """
    position, whole = len(SIGNATURE), memoryview(data)
    while position + _FRAME <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _FRAME + length
        if end > len(data):
            return
        if zlib.crc32(whole[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise UnreadableImage(f"is damaged: the checksum of its {kind.decode('latin-1')!a} chunk is wrong")
        yield kind, whole[position + 8 : end - 4]
        if kind == b"IEND":
            return
        position = end
