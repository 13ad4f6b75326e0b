from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskrcnn_trainer.data.convert.images import UnreadableImage, read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def write(path: Path, image: Image.Image | None = None, **options: Any) -> bytes:
    (image or Image.fromarray(PIXELS)).save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "stored"),
    [("a.jpg", "jpeg"), ("a.png", "png"), ("a.gif", "gif"), ("a.bmp", "bmp"), ("a.jpeg", "jpeg")],
)
def test_what_tensorflow_decodes_is_stored_as_it_is(tmp_path: Path, name: str, stored: str) -> None:
    data = write(tmp_path / name)
    image = read_image(tmp_path / name, 30, 40)
    assert (image.data, image.format) == (data, stored)
    assert image.sha256 == hashlib.sha256(data).hexdigest()


def test_the_format_is_that_of_the_bytes_not_of_the_name(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", format="PNG")
    assert read_image(tmp_path / "a.jpg", 30, 40).format == "png"


@pytest.mark.parametrize("name", ["a.webp", "a.tiff", "a.ppm", "a.jp2"])
def test_anything_else_becomes_png(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    image = read_image(tmp_path / name, 30, 40)
    assert image.format == "png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.data))), PIXELS)
    assert image.sha256 == hashlib.sha256(data).hexdigest()


def test_bmp_with_a_palette_becomes_png(tmp_path: Path) -> None:
    palette = Image.fromarray(PIXELS).quantize(16)
    write(tmp_path / "a.bmp", palette)
    image = read_image(tmp_path / "a.bmp", 30, 40)
    assert image.format == "png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.data))), np.asarray(palette.convert("RGB")))


def test_grey_of_16_bit_keeps_its_high_byte(tmp_path: Path) -> None:
    grey = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
    write(tmp_path / "a.tiff", Image.fromarray(grey))
    image = read_image(tmp_path / "a.tiff", 30, 40)
    decoded = np.asarray(Image.open(io.BytesIO(image.data)))
    np.testing.assert_array_equal(decoded, np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, -1))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_rotation_by_exif_is_ignored(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jpg", exif=exif(6))
    assert read_image(tmp_path / "a.jpg", 30, 40).data == data
    with pytest.raises(
        UnreadableImage, match=r"is 40x30 .*the annotations say 30x40: .*turned by its EXIF orientation"
    ):
        read_image(tmp_path / "a.jpg", 40, 30)


def test_another_size_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match=r"is 40x30 \(width x height\), but the annotations say 41x30$"):
        read_image(tmp_path / "a.png", 30, 41)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.webp", "a.tiff"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name)
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UnreadableImage, match=r"cannot be decoded|not an image in a format that can be read"):
        read_image(tmp_path / name, 30, 40)


def test_progressive_jpeg_cut_off_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jpg", progressive=True, quality=95)
    assert read_image(tmp_path / "a.jpg", 30, 40).format == "jpeg"
    (tmp_path / "a.jpg").write_bytes(data[:-200])
    with pytest.raises(UnreadableImage, match="cannot be decoded"):
        read_image(tmp_path / "a.jpg", 30, 40)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").mkdir()
    for name, reason in (
        ("a.jpg", "not an image in a format that can be read"),
        ("b.jpg", "the file is empty"),
        ("c.jpg", "cannot be read: Is a directory"),
        ("d.jpg", "cannot be read: No such file"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            read_image(tmp_path / name, 30, 40)
