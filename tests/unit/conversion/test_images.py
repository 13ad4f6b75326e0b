from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from maskrcnn_trainer.conversion.images import EncodedImage, check_image, encode_image
from maskrcnn_trainer.images.decode import UnreadableImage

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def write(path: Path, image: Image.Image | None = None, **options: Any) -> bytes:
    (image or Image.fromarray(PIXELS)).save(path, **options)
    return path.read_bytes()


def read_image(path: Path, height: int, width: int) -> EncodedImage:
    return encode_image(path, check_image(path, height, width))


@pytest.mark.parametrize(
    ("name", "stored"),
    [("a.jpg", "jpeg"), ("a.png", "png"), ("a.jpeg", "jpeg")],
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


@pytest.mark.parametrize("colors", [16, None])
def test_bmp_becomes_png(tmp_path: Path, colors: int | None) -> None:
    picture = Image.fromarray(PIXELS)
    data = write(tmp_path / "a.bmp", picture.quantize(colors) if colors else picture)
    (tmp_path / "a.bmp").write_bytes(data + b"\0\0")  # some programs add them; TensorFlow refuses such a file
    image = read_image(tmp_path / "a.bmp", 30, 40)
    assert image.format == "png"
    expected = np.asarray((picture.quantize(colors) if colors else picture).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image.data))), expected)


def test_gray_of_16_bits_keeps_its_high_byte(tmp_path: Path) -> None:
    gray = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50
    write(tmp_path / "a.tiff", Image.fromarray(gray))
    image = read_image(tmp_path / "a.tiff", 30, 40)
    decoded = np.asarray(Image.open(io.BytesIO(image.data)))
    np.testing.assert_array_equal(decoded, np.repeat((gray >> 8).astype(np.uint8)[..., None], 3, -1))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_rotation_by_exif_is_ignored(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jpg", exif=exif(6))
    assert read_image(tmp_path / "a.jpg", 30, 40).data == data
    with pytest.raises(
        UnreadableImage, match=r"is 40x30 .*but 30x40 in the annotations: .*rotated by its EXIF orientation"
    ):
        read_image(tmp_path / "a.jpg", 40, 30)


def test_another_size_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match=r"is 40x30 \(width x height\), but 41x30 in the annotations$"):
        read_image(tmp_path / "a.png", 30, 41)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.webp", "a.tiff"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    data = write(tmp_path / name)
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(UnreadableImage, match=r"cannot be decoded|not an image, or its format isn't supported"):
        read_image(tmp_path / name, 30, 40)


def test_progressive_jpeg_cut_off_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "a.jpg", progressive=True, quality=95)
    assert read_image(tmp_path / "a.jpg", 30, 40).format == "jpeg"
    (tmp_path / "a.jpg").write_bytes(data[:-200])
    with pytest.raises(UnreadableImage, match="cannot be decoded"):
        read_image(tmp_path / "a.jpg", 30, 40)


EOI = b"\xff\xd9"


def with_thumbnail() -> Image.Exif:
    """EXIF data that contains a JPEG with its own end marker."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS[:8, :8]).save(stream, "JPEG")
    tags = Image.Exif()
    tags[0x927C] = stream.getvalue()
    return tags


@pytest.mark.parametrize("tail", [b"", bytes(400), bytes(range(1, 200))], ids=["nothing", "zeros", "others"])
def test_jpeg_without_its_end_marker_is_refused(tmp_path: Path, tail: bytes) -> None:
    data = write(tmp_path / "a.jpg", exif=with_thumbnail())
    assert data.count(EOI) == 2
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 3 // 4] + tail)
    with pytest.raises(
        UnreadableImage,
        match=r"cannot be decoded|is cut off: its end marker \(EOI\) and some of its pixels are missing",
    ):
        check_image(tmp_path / "a.jpg", 30, 40)


@pytest.mark.parametrize("lost", [0, 30, 400])
@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"quality": 10}, {"exif": with_thumbnail()}])
def test_jpeg_whose_data_ends_early_has_lost_pixels(tmp_path: Path, options: dict[str, Any], lost: int) -> None:
    data = write(tmp_path / "a.jpg", Image.fromarray(np.tile(PIXELS, (4, 4, 1))), **options)
    (tmp_path / "a.jpg").write_bytes(data[: -2 - lost] + EOI + b"what some cameras add")
    checked = check_image(tmp_path / "a.jpg", 120, 160)
    assert checked.stored == "jpeg"
    assert checked.has_lost_pixels == bool(lost)


@pytest.mark.parametrize("image", [Image.fromarray(PIXELS[..., 0]), Image.fromarray(PIXELS).convert("CMYK")])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:4:4"}])
def test_sound_jpeg_has_no_lost_pixels(tmp_path: Path, image: Image.Image, options: dict[str, Any]) -> None:
    write(tmp_path / "a.jpg", image, **options)
    assert not check_image(tmp_path / "a.jpg", 30, 40).has_lost_pixels


def test_file_that_is_not_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"hello")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").mkdir()
    for name, reason in (
        ("a.jpg", "not an image, or its format isn't supported"),
        ("b.jpg", "the file is empty"),
        ("c.jpg", "cannot be read: Is a directory"),
        ("d.jpg", "cannot be read: No such file"),
    ):
        with pytest.raises(UnreadableImage, match=reason):
            read_image(tmp_path / name, 30, 40)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_of_32_bits_are_refused(tmp_path: Path, kind: type) -> None:
    write(tmp_path / "a.tiff", Image.fromarray(PIXELS[..., 0].astype(kind)))
    with pytest.raises(UnreadableImage, match="32-bit images aren't supported"):
        check_image(tmp_path / "a.tiff", 30, 40)


def chunks(png: bytes) -> list[bytes]:
    found, place = [], 8
    while place < len(png):
        end = place + 12 + int.from_bytes(png[place : place + 4])
        found.append(png[place:end])
        place = end
    return found


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(color_type: int, *, width: int = 40, compression: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, 30, 8, color_type, compression, 0, 0))


COLORS = chunk(b"PLTE", bytes(range(48)))
TEXT = chunk(b"tEXt", b"a\0b")
INDICES = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(row[:, 0] % 16) for row in PIXELS)))
RGB = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS)))
END = chunk(b"IEND")


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ((header(3), INDICES), r"it has no palette \(PLTE chunk\) before its pixels"),
        ((header(3), INDICES, COLORS), r"it has no palette \(PLTE chunk\) before its pixels"),
        ((header(3), chunk(b"PLTE"), INDICES), "its PLTE chunk has 0 bytes, which isn't 1 to 256 colors"),
        ((header(3), chunk(b"PLTE", bytes(4)), INDICES), "its PLTE chunk has 4 bytes, which isn't 1 to 256 colors"),
        ((header(3), COLORS, COLORS, INDICES), "it has two PLTE chunks"),
        ((header(2, width=20), header(2), RGB), "it has two IHDR chunks"),
        ((header(2), RGB, header(2)), "it has two IHDR chunks"),
        ((TEXT, header(2), RGB), "its first chunk is tEXt, expected IHDR"),
        ((chunk(b"CgBI", bytes(4)), header(2), RGB), "its first chunk is CgBI, expected IHDR"),
        ((header(2, compression=1), RGB), "its IHDR chunk has an invalid length or compression method"),
        ((header(2), chunk(b"ABCD"), RGB), "it has an unknown critical chunk ABCD"),
        ((header(2), RGB, chunk(b"a1cd")), "'a1cd' is not a valid chunk type"),
    ],
)
def test_png_whose_chunks_training_refuses_is_refused(tmp_path: Path, parts: tuple[bytes, ...], reason: str) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + END)
    with pytest.raises(UnreadableImage, match=f"^is damaged: {reason}$"):
        check_image(tmp_path / "a.png", 30, 40)


@pytest.mark.parametrize(
    "parts",
    [
        (header(3), COLORS, INDICES),
        (header(2), COLORS, RGB, TEXT),
        (header(2), RGB, COLORS),
        (header(0), COLORS, INDICES),
        (header(2), chunk(b"IDAT"), RGB, TEXT, chunk(b"IDAT")),
    ],
)
def test_png_whose_chunks_training_reads_is_stored_as_it_is(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + END)
    assert check_image(tmp_path / "a.png", 30, 40).stored == "png"


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


@pytest.mark.parametrize(
    ("compressed", "reason"),
    [
        (zlib.compress(ROWS[: len(ROWS) // 2]), "is cut off: it has 1,815 of 3,630 bytes of pixels"),
        (zlib.compress(b""), "is cut off: it has 0 of 3,630 bytes of pixels"),
        (zlib.compress(ROWS)[:-4], "is cut off: the checksum of its pixels is missing"),
        (zlib.compress(ROWS)[:-1] + b"x", "is damaged: its compressed pixels .* are not a valid zlib stream"),
    ],
    ids=["half of the rows", "no rows", "no checksum", "another checksum"],
)
def test_png_with_other_pixels_than_in_its_header_is_refused(tmp_path: Path, compressed: bytes, reason: str) -> None:
    parts = (header(2), chunk(b"IDAT", compressed), END)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(UnreadableImage, match=f"^{reason}$"):
        check_image(tmp_path / "a.png", 30, 40)


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@pytest.mark.parametrize("size", [(40, 30), (3, 1), (1, 5)], ids=str)
@pytest.mark.parametrize(("depth", "color_type"), [(1, 0), (4, 0), (16, 0), (8, 2), (16, 2), (8, 4), (8, 6)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_sound_png_of_every_layout_is_stored_as_it_is(
    tmp_path: Path, size: tuple[int, int], depth: int, color_type: int, *, interlaced: bool
) -> None:
    width, height = size
    bits = np.zeros((height, width, depth * {0: 1, 2: 3, 4: 2, 6: 4}[color_type]), np.uint8)
    passes = [bits[y::down, x::across] for x, y, across, down in PASSES] if interlaced else [bits]
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for part in passes if part.size for row in part)
    first = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced))
    compressed = zlib.compress(rows)
    data = chunk(b"IDAT", compressed[:3]) + chunk(b"IDAT", compressed[3:])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + first + data + END)
    assert check_image(tmp_path / "a.png", height, width).stored == "png"


@pytest.mark.parametrize("from_end", [100, 13], ids=["pixels", "checksum"])
def test_png_with_a_changed_byte_is_refused(tmp_path: Path, from_end: int) -> None:
    data = write(tmp_path / "a.png", compress_level=0)
    place = len(data) - from_end
    (tmp_path / "a.png").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(UnreadableImage, match="is damaged: the checksum of its 'IDAT' chunk is wrong"):
        check_image(tmp_path / "a.png", 30, 40)


@pytest.mark.parametrize("cut", [12, 9, 4, 1])
def test_png_without_its_end_is_stored_as_new_png(tmp_path: Path, cut: int) -> None:
    data = write(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(data[:-cut])
    assert check_image(tmp_path / "a.png", 30, 40).repaired == "the file ends early, after all of its pixels"
    stored = read_image(tmp_path / "a.png", 30, 40)
    assert stored.format == "png"
    assert chunks(stored.data)[-1][4:8] == b"IEND"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored.data))), PIXELS)


def test_gif_becomes_png(tmp_path: Path) -> None:
    write(tmp_path / "a.gif")
    image = read_image(tmp_path / "a.gif", 30, 40)
    assert image.format == "png"
    assert check_image(tmp_path / "a.gif", 30, 40).repaired == ""
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(image.data))), np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))
    )


def test_gif_with_a_frame_smaller_than_the_image_is_reported(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.gif"))
    data[6:10] = (80).to_bytes(2, "little") + (60).to_bytes(2, "little")
    (tmp_path / "a.gif").write_bytes(data)
    assert check_image(tmp_path / "a.gif", 60, 80).repaired == "its first frame is smaller than the image"
    assert Image.open(io.BytesIO(read_image(tmp_path / "a.gif", 60, 80).data)).size == (80, 60)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_orientation_of_exif_is_found(tmp_path: Path, orientation: int, name: str) -> None:
    write(tmp_path / name, exif=exif(orientation))
    assert check_image(tmp_path / name, 30, 40).orientation == orientation


@pytest.mark.parametrize("value", [0, 9, 4711])
def test_orientation_that_exif_does_not_know_is_upright(tmp_path: Path, value: int) -> None:
    write(tmp_path / "a.jpg", exif=exif(value))
    assert check_image(tmp_path / "a.jpg", 30, 40).orientation == 1


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
@pytest.mark.parametrize(("largest", "dark"), [(4095, True), (4400, False), (65535, False)])
def test_16_bit_images_of_which_8_bits_leave_little_are_dark(
    tmp_path: Path, name: str, largest: int, dark: bool
) -> None:
    gray = np.linspace(0, largest, 1200).astype(np.uint16).reshape(30, 40)
    write(tmp_path / name, Image.fromarray(gray))
    assert check_image(tmp_path / name, 30, 40).is_dark is dark


def test_16_bit_color_png_is_dark_and_8_bit_is_not(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PIXELS.astype(np.uint16))
    assert check_image(tmp_path / "a.png", 30, 40).is_dark
    write(tmp_path / "b.png", Image.fromarray(PIXELS // 64))
    assert not check_image(tmp_path / "b.png", 30, 40).is_dark


def test_image_with_more_pixels_than_training_decodes_is_refused_undecoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    framed = [struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
              for kind, part in parts]  # fmt: skip
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    with pytest.raises(UnreadableImage, match="has 60000x60000 pixels: training decodes at most 536,870,911 pixels"):
        check_image(tmp_path / "a.png", 60_000, 60_000)


@pytest.mark.timeout(30)
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImage, match="cannot be read: it is a pipe"):
        check_image(tmp_path / "a.jpg", 30, 40)


def test_a_file_that_changes_after_its_check_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    checked = check_image(tmp_path / "a.png", 30, 40)
    write(tmp_path / "a.png", Image.fromarray(PIXELS[::-1]))
    with pytest.raises(UnreadableImage, match="has changed during the conversion"):
        encode_image(tmp_path / "a.png", checked)
