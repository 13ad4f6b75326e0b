"""Image files as pixels, as conversion, training, inference, and calibration see them."""

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


class UnreadableImage(Exception):  # noqa: N818 - it is an image that is unreadable
    """An image file that cannot be used; the text says why."""


def read_pixels(path: Path, *, exif: bool = False) -> NDArray[np.uint8]:
    """Decodes an image file.

    Grey becomes three equal channels, of 16 bits the upper 8 are taken, alpha is dropped, CMYK and palettes are
    converted: what ``dataset_convert`` stores and TensorFlow decodes for training.

    Args:
        path: of the file.
        exif: turn the image as its EXIF orientation says; annotations are in stored pixels.

    Returns:
        uint8 [h, w, 3], RGB.

    Raises:
        UnreadableImage: missing, damaged, cut off, of an unknown format or of 32 bits a channel.
    """
    with opened(read_bytes(path)) as image:
        return to_rgb(ImageOps.exif_transpose(image) if exif else image)


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        UnreadableImage: missing, empty, or no plain file.
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
        UnreadableImage: no known format, 32 bits a channel, or whatever the decoder raises inside the context.
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
