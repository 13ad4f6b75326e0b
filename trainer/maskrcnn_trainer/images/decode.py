"""Decoder of images for conversion, inference, calibration on files, and pictures.

The pixels are equal to those that TensorFlow decodes in the input pipeline (``data.examples.decode_pixels``) from the
images that ``dataset_convert`` stores; a test compares the two for every format.
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


class UnreadableImage(Exception):
    """Unusable image; the message is the cause, and the caller adds the name of the image."""


def decode_image(source: bytes | Path, *, exif: bool = False) -> NDArray[np.uint8]:
    """Return the pixels of an image.

    Damage that leaves the pixels decodable is accepted; ``dataset_convert`` checks more (``conversion.images``).
    Grayscale becomes three equal channels, the upper 8 of 16 bits are used, alpha is dropped, CMYK and palettes are
    converted.

    Args:
        source: path of an image file, or its content.
        exif: whether to rotate the image by its EXIF orientation; annotations are in stored pixels.

    Returns:
        uint8 [h, w, 3], RGB.

    Raises:
        UnreadableImage: the image is missing, damaged, or truncated, or has an unknown format or 32 bits per channel.
    """
    with opened(source if isinstance(source, bytes) else read_bytes(source)) as image:
        return to_rgb(ImageOps.exif_transpose(image) if exif else image)


def image_size(data: bytes) -> tuple[int, int]:
    """Return height and width of an image in pixels, without decoding it.

    Raises:
        UnreadableImage: the image has an unknown format or 32 bits per channel.
    """
    with opened(data) as image:
        width, height = image.size
    return height, width


def read_bytes(path: Path) -> bytes:
    """Return the content of an image file.

    Raises:
        UnreadableImage: the file is missing, empty, or not a regular file.
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
    """Open an image, of which only the header is decoded at first.

    Raises:
        UnreadableImage: the image has an unknown format or 32 bits per channel, or the decoder raises an error inside
            the context.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and size; faults in the pixels are errors
        Image.MAX_IMAGE_PIXELS = None
        try:
            with Image.open(io.BytesIO(data)) as image:
                if image.format == "EPS":  # Pillow would run another program to decode it
                    raise UnreadableImage("EPS images aren't supported; convert it to PNG")
                if image.mode in ("I", "F") and not is_deep(image):
                    raise UnreadableImage(
                        "32-bit images aren't supported (unknown value range); convert it to 8 or 16 bits"
                    )
                yield image
        except UnidentifiedImageError as error:
            raise UnreadableImage("not an image, or its format isn't supported") from error
        except (MemoryError, UnreadableImage):
            raise
        except Exception as error:  # Pillow's decoders raise exceptions of many types
            raise UnreadableImage(f"cannot be decoded: {error}") from error


def is_deep(image: Image.Image) -> bool:
    """Return whether an image has 16 bits per channel; for a 16-bit PGM, Pillow uses a 32-bit mode."""
    return image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I")


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an image as uint8 [h, w, 3]; the upper 8 of 16 bits are used."""
    if is_deep(image):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
