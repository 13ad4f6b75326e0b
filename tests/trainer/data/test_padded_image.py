"""Images of inference, made without TensorFlow, equal those of training and evaluation."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from maskrcnn_trainer.conversion.images import check_image, encode_image
from maskrcnn_trainer.data import examples, transforms
from maskrcnn_trainer.data.padded_image import pad_image
from maskrcnn_trainer.images.decode import decode_image

pytestmark = pytest.mark.trainer

SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8), (201, 151))


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def files() -> dict[str, bytes]:
    """Return a file of each kind that records may contain."""
    image, gray = Image.fromarray(SMOOTH), Image.fromarray(SMOOTH[..., 0])
    deep = SMOOTH.astype(np.uint16) * 257
    return {
        **{f"jpeg {chroma}": encoded(image, "JPEG", subsampling=chroma, quality=85) for chroma in (0, 1, 2)},
        "progressive jpeg": encoded(image, "JPEG", progressive=1),
        "gray jpeg": encoded(gray, "JPEG"),
        "cmyk jpeg": encoded(image.convert("CMYK"), "JPEG"),
        "png": encoded(image, "PNG"),
        "alpha png": encoded(Image.fromarray(np.dstack([SMOOTH, SMOOTH[..., 0]])), "PNG"),
        "gray alpha png": encoded(image.convert("LA"), "PNG"),
        "palette png": encoded(image.convert("P"), "PNG"),
        "two-color png": encoded(image.convert("1"), "PNG"),
        "deep png": cv2.imencode(".png", deep)[1].tobytes(),
        "deep gray png": cv2.imencode(".png", deep[..., 0])[1].tobytes(),
        "bmp": encoded(image, "BMP"),
        "gray bmp": encoded(gray, "BMP"),
        "gif": encoded(image, "GIF"),
        "tiff": encoded(image, "TIFF"),
        "webp": encoded(image, "WEBP"),
    }


@pytest.mark.parametrize("kind", files())
def test_a_file_has_the_same_pixels_in_a_record(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(files()[kind])
    stored = encode_image(path, check_image(path, *SMOOTH.shape[:2])).data
    np.testing.assert_array_equal(decode_image(path), examples.decode_pixels(tf.constant(stored)).numpy())


def of_tensorflow(pixels: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    placement = transforms.place(tf.shape(pixels)[:2], size)
    return transforms.pad_image(tf.constant(pixels), placement, size).numpy(), transforms.image_info(placement).numpy()


def test_the_padded_image_is_the_same_bit_for_bit() -> None:
    rng = np.random.default_rng(1)
    shapes = [(151, 201), (1, 1), (1, 700), (640, 3), (256, 256), (333, 500), *rng.integers(1, 500, (12, 2)).tolist()]
    for height, width in shapes:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for size in ((256, 256), (128, 448), (832, 1344)):
            ours = pad_image(pixels, size)
            wanted, info = of_tensorflow(pixels, size)
            np.testing.assert_array_equal(ours.image_info, info)
            np.testing.assert_array_equal(ours.pixels, wanted)


def test_the_padded_image_is_the_same_to_the_last_bits_in_a_graph() -> None:
    """In a graph TensorFlow's optimizer multiplies by 1 / 255."""
    in_graph = tf.function(
        lambda pixels: transforms.pad_image(pixels, transforms.place(tf.shape(pixels)[:2], (256, 256)), (256, 256)),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    )
    for shape in ((151, 201), (480, 640), (30, 20)):
        pixels = np.asarray(cv2.resize(SMOOTH, shape[::-1]), np.uint8)
        difference = np.abs(in_graph(tf.constant(pixels)).numpy() - pad_image(pixels, (256, 256)).pixels)
        assert difference.max() <= 1e-6


@pytest.mark.data
def test_photographs_have_the_same_pixels(test_data: Path) -> None:
    for path in sorted((test_data / "coco" / "images").iterdir())[:10]:
        decoded = examples.decode_pixels(tf.constant(path.read_bytes())).numpy()
        np.testing.assert_array_equal(decode_image(path), decoded)
        np.testing.assert_array_equal(pad_image(decoded, (512, 512)).pixels, of_tensorflow(decoded, (512, 512))[0])
