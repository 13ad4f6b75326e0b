"""Checking of image files, and the form in which records store them.

A file must decode to its end and have the size of its annotations. JPEG and intact PNG are stored as they are, since
TensorFlow decodes them to the same pixels as Pillow; any other format that Pillow reads is stored as PNG. EXIF rotation
is always ignored: annotations are in stored pixels.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile

from maskrcnn_trainer.images.decode import UnreadableImage, decode_image, is_deep, opened, read_bytes, to_rgb
from maskrcnn_trainer.images.jpeg_scans import SIGNATURE as JPEG
from maskrcnn_trainer.images.jpeg_scans import decode_coarsely, find_scans, holds_all_pixels
from maskrcnn_trainer.images.png_chunks import SIGNATURE as PNG
from maskrcnn_trainer.images.png_chunks import check_chunks
from maskrcnn_trainer.images.png_pixels import check_pixels

_ORIENTATION = 0x0112
_UPRIGHT = 1
_SWAPPED_SIDES = (5, 6, 7, 8)  # EXIF orientations that turn an image by 90 degrees
_DARK = 16  # of 256 levels of the high byte: 1/16 of the range
_MOST_PIXELS = {"jpeg": (2**29 - 1) // 3, "png": 2**29 - 1}
"""Limit of TensorFlow 2.18 by format: core/lib/jpeg/jpeg_mem.cc and kernels/image/decode_image_op.cc."""


@dataclass(frozen=True)
class CheckedImage:
    """Properties of an image file that was decoded to its end.

    Attributes:
        stored: jpeg or png if a record stores the file as it is; None if its pixels are stored as PNG.
        repaired: fault of the file because of which its pixels are stored; "" if there is none.
        orientation: of EXIF, 1 to 8; 1 if absent.
        is_dark: whether it has 16 bits and its 99th percentile is below 1/16 of their range.
        checksum: CRC-32 of the file.
        has_lost_pixels: whether the data of a JPEG ends before its last pixels, which decoders fill with gray.
    """

    stored: str | None
    repaired: str
    orientation: int
    is_dark: bool
    checksum: int
    has_lost_pixels: bool


@dataclass(frozen=True)
class EncodedImage:
    """Image in the form that a record stores.

    Attributes:
        data: bytes of a file in `format`.
        format: jpeg or png.
        sha256: of the original file, hexadecimal.
    """

    data: bytes
    format: str
    sha256: str


def check_image(path: Path, height: int, width: int) -> CheckedImage:
    """Decode an image file to its end.

    Args:
        path: of the file.
        height: height in the annotations, in pixels.
        width: width in the annotations, in pixels.

    Raises:
        UnreadableImage: the file is missing, damaged, cut off, of another size, too large, or has 32 bits a channel.
    """
    data = read_bytes(path)
    is_png = data.startswith(PNG)
    ends = check_chunks(data) if is_png else True
    scans = find_scans(data) if data.startswith(JPEG) else None
    with opened(data) as image:
        _check_size(image, height, width)
        repaired = "" if ends else "the file ends early, after all of its pixels"
        if isinstance(image, GifImageFile) and image.tile and image.tile[0].extents != (0, 0, *image.size):
            repaired = "its first frame is smaller than the image"
        stored = None if repaired else _stored_format(data)
        most = _MOST_PIXELS[stored or "png"]
        if width * height > most:
            raise UnreadableImage(f"has {width}x{height} pixels: training decodes at most {most:,} pixels")
        has_lost_pixels = False
        if stored == "png":
            check_pixels(data)
        if scans is None:
            image.load()
        elif not holds_all_pixels(data, scans):
            if isinstance(image, JpegImageFile):
                decode_coarsely(image)
            image.load()
            if scans.end is None:
                raise UnreadableImage("is cut off: its end marker (EOI) and some of its pixels are missing")
            has_lost_pixels = scans.are_one
        has_16_bits = is_deep(image) or (is_png and data[24] == 16)
        is_dark = has_16_bits and bool(np.percentile(to_rgb(image), 99) < _DARK)
        return CheckedImage(stored, repaired, _orientation(image), is_dark, zlib.crc32(data), has_lost_pixels)


def encode_image(path: Path, checked: CheckedImage) -> EncodedImage:
    """Return the form of a checked image file that a record stores.

    Args:
        path: of the file.
        checked: result of :func:`check_image` for it.

    Raises:
        UnreadableImage: the file cannot be read, or has changed since it was checked.
    """
    data = read_bytes(path)
    if zlib.crc32(data) != checked.checksum:
        raise UnreadableImage("has changed during the conversion: convert again when it no longer changes")
    encoded = data if checked.stored else _as_png(data)
    return EncodedImage(encoded, checked.stored or "png", hashlib.sha256(data).hexdigest())


def _check_size(image: Image.Image, height: int, width: int) -> None:
    if image.size == (width, height):
        return
    found = f"is {image.width}x{image.height} (width x height), but {width}x{height} in the annotations"
    if image.size == (height, width) and _orientation(image) in _SWAPPED_SIDES:
        found += ": they seem to be for the image rotated by its EXIF orientation, but must be in stored pixels"
    raise UnreadableImage(found)


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - damaged metadata in any way: the pixels can still be read
        return _UPRIGHT
    return found if isinstance(found, int) and 1 <= found <= 8 else _UPRIGHT


def _stored_format(data: bytes) -> str | None:
    """Return the format of a file that is stored as it is, None for formats that TensorFlow reads differently.

    TensorFlow refuses BMP with bytes after the pixels, and takes the first frame of a GIF for the whole image.
    """
    if data.startswith(JPEG):
        return "jpeg"
    return "png" if data.startswith(PNG) else None


def _as_png(data: bytes) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(decode_image(data)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
