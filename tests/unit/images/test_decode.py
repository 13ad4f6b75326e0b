"""Decoding of all supported image formats."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from maskrcnn_trainer.images.decode import UnreadableImage, decode_image, image_size

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_colors_come_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(RGB).save(path, lossless=True)  # only WebP uses the argument
    pixels = decode_image(path)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (12, 17, 3))
    np.testing.assert_array_equal(pixels, RGB)


def test_content_is_decoded_as_its_file_is(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)
    np.testing.assert_array_equal(decode_image(path.read_bytes()), RGB)


def test_content_that_is_not_an_image_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="not an image, or its format isn't supported"):
        decode_image(b"no image")


@pytest.mark.parametrize("kind", ["PNG with a wrong checksum", "JPEG without its last pixels"])
def test_damage_that_leaves_pixels_is_accepted(kind: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, kind.partition(" ")[0])
    data = bytearray(stream.getvalue())
    if kind.startswith("PNG"):
        data[data.index(b"IEND") - 5] ^= 1  # the last byte of the checksum of the pixels
    else:
        data[-40:] = b"\xff\xd9"
    assert decode_image(bytes(data)).shape == RGB.shape


def test_jpeg_is_decoded_as_opencv_does(tmp_path: Path) -> None:
    path = tmp_path / "x.JPG"
    smooth = cv2.resize(RGB, (101, 67), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(smooth).save(path, "JPEG", quality=80)
    decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    np.testing.assert_array_equal(decode_image(path), decoded[..., ::-1])


def test_gray_alpha_palette_and_sixteen_bits(tmp_path: Path) -> None:
    gray, path = RGB[..., 0], tmp_path / "x.png"
    Image.fromarray(gray).save(path)
    np.testing.assert_array_equal(decode_image(path), np.repeat(gray[..., None], 3, 2))
    Image.fromarray(np.dstack([RGB, gray])).save(path)
    np.testing.assert_array_equal(decode_image(path), RGB)
    Image.fromarray(np.dstack([gray, gray[::-1]])).save(path)
    np.testing.assert_array_equal(decode_image(path), np.repeat(gray[..., None], 3, 2))
    palette = Image.fromarray(RGB).convert("P")
    palette.save(path)
    np.testing.assert_array_equal(decode_image(path), np.asarray(palette.convert("RGB")))
    deep = gray.astype(np.uint16) * 256 + 99
    for name in ("x.png", "x.tiff"):
        Image.fromarray(deep).save(tmp_path / name)
        np.testing.assert_array_equal(decode_image(tmp_path / name), np.repeat(gray[..., None], 3, 2))
    cv2.imwrite(str(path), RGB.astype(np.uint16)[..., ::-1] * 256 + 5)
    np.testing.assert_array_equal(decode_image(path), RGB)


def test_exif_turns_an_image_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees clockwise
    Image.fromarray(RGB).save(path, exif=exif)
    np.testing.assert_array_equal(decode_image(path), RGB)
    np.testing.assert_array_equal(decode_image(path, exif=True), np.rot90(RGB, -1))


def test_unreadable_file_is_refused_with_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    with pytest.raises(UnreadableImage, match="cannot be read: No such file"):
        decode_image(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableImage, match="empty"):
        decode_image(path)
    path.write_bytes(b"text")
    with pytest.raises(UnreadableImage, match="not an image"):
        decode_image(path)
    for kind in (np.int32, np.float32):
        Image.fromarray(RGB[..., 0].astype(kind)).save(path, "TIFF")
        with pytest.raises(UnreadableImage, match="32-bit images aren't supported"):
            decode_image(path)
    for suffix in ("JPEG", "PNG"):
        Image.fromarray(np.tile(RGB, (9, 9, 1))).save(path, suffix)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(UnreadableImage, match="cannot be decoded"):
            decode_image(path)


@pytest.mark.timeout(30)
def test_pipe_is_refused_as_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UnreadableImage, match="cannot be read: it is a pipe"):
        decode_image(tmp_path / "x.jpg")


def test_pgm_of_16_bits_keeps_its_upper_8(tmp_path: Path) -> None:
    path = tmp_path / "x.pgm"
    gray = (np.arange(12).reshape(3, 4) * 5000).astype(">u2")
    path.write_bytes(b"P5 4 3 65535\n" + gray.tobytes())
    np.testing.assert_array_equal(decode_image(path), np.repeat((gray >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_eps_is_refused_as_image(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(UnreadableImage, match="EPS images aren't supported; convert it to PNG"):
        decode_image(path)


def test_size_is_known_without_the_pixels() -> None:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "PNG")
    assert image_size(stream.getvalue()[:-200]) == (12, 17)
    with pytest.raises(UnreadableImage):
        image_size(b"an image")
