"""Search for the scans of a JPEG file, and a check that they contain all pixels.

ITU-T T.81 (09/92), annex B: markers, segments, scans.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from PIL.JpegImagePlugin import JpegImageFile

SIGNATURE = b"\xff\xd8\xff"
_EOI, _SOS = b"\xff\xd9", b"\xff\xda"  # in a scan, FF is followed by 0 or the number of a restart marker
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a segment: TEM, RST, SOI
_MARKER = re.compile(rb"\xff([^\x00\xff])")
_SEQUENTIAL = frozenset((0xC0, 0xC1))  # SOF of Huffman coding, pixels from top to bottom
_PADDING = bytes(16)  # the decoder looks ahead by a few bytes


@dataclass(frozen=True)
class Scans:
    """Scans of a JPEG file.

    Attributes:
        end: position of the end marker (EOI); None if there is none.
        are_one: whether there is a single sequential scan with all pixels.
    """

    end: int | None
    are_one: bool


def find_scans(data: bytes) -> Scans:
    """Return the scans of a JPEG file; segments before them, such as a thumbnail, are skipped."""
    position, sequential = len(SIGNATURE) - 1, False
    while found := _MARKER.search(data, position):
        position = found.end()
        marker = found[1][0]
        if found[0] == _SOS:
            end = data.find(_EOI, position)
            return Scans(end, sequential and data.find(_SOS, position, end) < 0) if end >= 0 else Scans(None, False)
        if found[0] == _EOI:
            break
        if marker not in _ALONE:
            position += int.from_bytes(data[position : position + 2], "big")
        sequential = sequential or marker in _SEQUENTIAL
    return Scans(None, False)


def holds_all_pixels(data: bytes, scans: Scans) -> bool:
    """Decode a file with a single scan, and return whether the scan is complete; False if there are several scans.

    A decoder that finds the end marker too early fills the rest with gray without an error; neither Pillow nor
    TensorFlow reports libjpeg's warning. Here the file is decoded without that marker, so Pillow raises an error if it
    needs more data. With several scans, each covers the whole image, so this check doesn't apply.
    """
    if scans.end is None or not scans.are_one:
        return False
    try:
        with JpegImageFile(io.BytesIO(data[: scans.end] + _PADDING)) as image:
            decode_coarsely(image)
            image.load()
    except (OSError, SyntaxError):  # Pillow's errors for data and for headers
        return False
    return True


def decode_coarsely(image: JpegImageFile) -> None:
    """Make the image load at an eighth of its size: all coefficients are read, which finds damage, but it is fast."""
    image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
