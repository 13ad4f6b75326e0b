"""An image file as a record stores it: decoded to the end, of the size that its annotations are for, in a known format.

TensorFlow decodes JPEG, PNG, GIF and uncompressed 24-bit BMP; such files are stored as they are, anything else that
Pillow reads is stored as PNG. Rotation by EXIF is ignored everywhere: annotations are in stored pixels.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from maskrcnn_trainer.files import read_regular

_SWAPPED_SIDES = (5, 6, 7, 8)  # EXIF orientations that turn an image by 90 degrees
_ORIENTATION = 0x0112


class UnreadableImage(ValueError):  # noqa: N818 - it is an image that is unreadable
    """An image file that cannot be converted; the text says why."""


@dataclass(frozen=True)
class EncodedImage:
    """What a record stores of an image.

    Attributes:
        data: bytes of a file in `format`.
        format: jpeg, png, gif or bmp.
        sha256: of the original file, hexadecimal.
    """

    data: bytes
    format: str
    sha256: str


def read_image(path: Path, height: int, width: int) -> EncodedImage:
    """Reads and checks an image file.

    Args:
        path: of the file.
        height: that the annotations give, in pixels; width: the same.

    Raises:
        UnreadableImage: missing, damaged, cut off, or of another size.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from error
    if not data:
        raise UnreadableImage("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on metadata and on size; faults in the pixels are errors
        Image.MAX_IMAGE_PIXELS = None
        try:
            with Image.open(io.BytesIO(data)) as image:
                _check_size(image, height, width)
                stored = _stored_format(data, image)
                if stored == "jpeg":
                    # Every coded coefficient is still read, so damage is found, but an eighth of the size is computed.
                    image.draft("L", (max(1, width // 8), max(1, height // 8)))
                image.load()
                encoded = data if stored else _as_png(image)
        except UnreadableImage:
            raise
        except UnidentifiedImageError as error:
            raise UnreadableImage("not an image in a format that can be read") from error
        except Exception as error:  # Pillow's decoders raise whatever their format's parser does
            raise UnreadableImage(f"cannot be decoded: {error}") from error
    return EncodedImage(encoded, stored or "png", hashlib.sha256(data).hexdigest())


def _check_size(image: Image.Image, height: int, width: int) -> None:
    if image.size == (width, height):
        return
    found = f"is {image.width}x{image.height} (width x height), but the annotations say {width}x{height}"
    if image.size == (height, width) and image.getexif().get(_ORIENTATION) in _SWAPPED_SIDES:
        found += ": they seem to be for the image turned by its EXIF orientation, and must be in stored pixels"
    raise UnreadableImage(found)


def _stored_format(data: bytes, image: Image.Image) -> str | None:
    """The format under which a file is stored as it is; None where TensorFlow could not decode it."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"BM") and len(data) >= 34:
        header, bits, compression = (
            struct.unpack_from("<I", data, 14)[0],
            struct.unpack_from("<H", data, 28)[0],
            struct.unpack_from("<I", data, 30)[0],
        )
        if header >= 40 and bits == 24 and compression == 0 and image.mode == "RGB":
            return "bmp"
    return None


def _as_png(image: Image.Image) -> bytes:
    if image.mode.startswith("I;16"):  # 16-bit grey: the high byte, as decoders of 16-bit PNG do
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "PNG", compress_level=1)
    return stream.getvalue()
