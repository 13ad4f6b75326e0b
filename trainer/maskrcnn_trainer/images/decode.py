"""Decoding of images, the same for conversion, inference, calibration on files, and pictures.

The pixels are those that TensorFlow decodes in the input pipeline (``data.examples.decode_pixels``) from what
``dataset_convert`` stores; a test compares the two for every format.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from maskrcnn_trainer.shared.files import read_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Files that are taken for images in a directory, in any case."""


class UnreadableImage(Exception):
    """An image that cannot be used; the text says why and leaves its name to the caller."""


def decode(source: bytes | Path, *, exif: bool = False) -> NDArray[np.uint8]:
    """Return the pixels of an image.

    Damage that leaves the pixels decodable is accepted; ``dataset_convert`` checks more (``conversion.images``).
    Grayscale becomes three equal channels, of 16 bits the upper 8 are taken, alpha is dropped, CMYK and palettes are
    converted.

    Args:
        source: path of an image file, or its content.
        exif: rotate the image as its EXIF orientation says; annotations are in stored pixels.

    Returns:
        uint8 [h, w, 3], RGB.

    Raises:
        UnreadableImage: missing, damaged, cut off, of an unknown format, or of 32 bits a channel.
    """
    with opened(source if isinstance(source, bytes) else read_bytes(source)) as image:
        return to_rgb(ImageOps.exif_transpose(image) if exif else image)


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        UnreadableImage: missing, empty, or not a regular file.
    """
    try:
        data = read_regular(path)
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror}") from error
    if not data:
        raise UnreadableImage("the file is empty")
    return data


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image of which only the header is decoded yet.

    Raises:
        UnreadableImage: unknown format, 32 bits a channel, or any error that the decoder raises inside the context.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on metadata and on size; faults in the pixels are errors
        Image.MAX_IMAGE_PIXELS = None
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.format == "EPS":  # to decode it, Pillow would run a program on it
                    raise UnreadableImage("EPS is a drawing, not an image of pixels; save it as PNG")
                if image.mode in ("I", "F") and not is_deep(image):
                    raise UnreadableImage(
                        "its pixels have 32 bits, of which nothing says what is white; save it with 8 or 16"
                    )
                yield image
        except UnidentifiedImageError as error:
            raise UnreadableImage("not an image in a format that can be read") from error
        except (MemoryError, UnreadableImage):
            raise
        except Exception as error:  # Pillow's decoders raise whatever their format's parser does
            raise UnreadableImage(f"cannot be decoded: {error}") from error


def is_deep(image: Image.Image) -> bool:
    """Return whether Pillow holds an image with its 16 bits; PGM of 16 bits comes with 32, of which 16 are used."""
    return image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an image as uint8 [h, w, 3]; of 16 bits the upper 8."""
    if is_deep(image):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
