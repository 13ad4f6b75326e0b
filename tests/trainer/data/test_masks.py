from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from maskrcnn_trainer.data.mask_png import MaskPng
from maskrcnn_trainer.data.masks import crop_masks

pytestmark = pytest.mark.trainer


def ellipse(height: int, width: int, box: tuple[float, float, float, float]) -> np.ndarray:
    y1, x1, y2, x2 = box
    rows, columns = np.mgrid[:height, :width] + 0.5
    return (
        ((rows - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 + ((columns - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 <= 1
    ).astype(np.uint8)


def png(mask: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(".png", mask, options)[1].tobytes()


def fractions(box: tuple[float, float, float, float], mask: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    return np.array([box], np.float32) / np.array([height, width, height, width], np.float32)


def reference_crop(mask: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """Compute a crop cell by cell in double precision, 0..255."""
    height, width = mask.shape
    inside = np.pad((mask != 0).astype(np.float64), 1, mode="edge")
    y1, x1, y2, x2 = box.astype(np.float64) * [height, width, height, width]
    crop = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            # Index of the pixel center, moved by the one row and column of padding.
            y = y1 + (i + 0.5) * (y2 - y1) / size - 0.5 + 1
            x = x1 + (j + 0.5) * (x2 - x1) / size - 0.5 + 1
            r, c = int(y), int(x)
            upper = inside[r, c] * (c + 1 - x) + inside[r, c + 1] * (x - c)
            lower = inside[r + 1, c] * (c + 1 - x) + inside[r + 1, c + 1] * (x - c)
            crop[i, j] = upper * (r + 1 - y) + lower * (y - r)
    return crop * 255


BOXES = [
    (10.3, 20.7, 24.1, 51.2),
    (0.0, 0.0, 9.5, 8.25),
    (30.0, 60.0, 40.0, 70.0),
    (0.0, 0.0, 40.0, 70.0),
    (5, 5, 6, 6),
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [7, 28])
def test_crop_equals_the_reference(box: tuple[float, float, float, float], size: int) -> None:
    mask = ellipse(40, 70, box)
    crop = crop_masks([png(mask)], fractions(box, mask), False, size)
    assert crop.shape == (1, size + 4, size + 4)
    assert crop.dtype == np.uint8
    expected = reference_crop(mask, fractions(box, mask)[0], size)
    np.testing.assert_allclose(crop[0, 2:-2, 2:-2], expected, atol=0.51)
    border = crop[0].copy()
    border[2:-2, 2:-2] = 0
    assert not border.any()
    if size > 20 and mask.sum() > 30:
        assert ((crop > 0) & (crop < 255)).any()


@pytest.mark.parametrize("box", BOXES)
def test_a_flipped_crop_is_the_crop_of_the_flipped_mask(box: tuple[float, float, float, float]) -> None:
    mask = ellipse(40, 70, box)
    mask[:, :30] *= np.arange(40, dtype=np.uint8)[:, None] % 2  # without symmetry
    mirrored = (box[0], 70 - box[3], box[2], 70 - box[1])
    flipped = crop_masks([png(mask)], fractions(mirrored, mask), True, 28)
    plain = crop_masks([png(np.ascontiguousarray(mask[:, ::-1]))], fractions(mirrored, mask), False, 28)
    # If a sample is at the boundary of two values, rounding may go either way.
    np.testing.assert_allclose(flipped.astype(int), plain.astype(int), atol=1)


def test_direct_sampling_is_better_than_resizing_to_the_padded_image_first() -> None:
    """Both kinds of crops, pasted back at stored resolution, are compared with the original mask."""
    rng = np.random.default_rng(3)
    direct, resized = [], []
    for _ in range(40):
        height, width = rng.integers(100, 300, 2)
        sides = np.exp(rng.uniform(np.log(8), np.log(80), 2))
        top, left = rng.uniform(0, [height - sides[0], width - sides[1]])
        mask = ellipse(height, width, (top, left, top + sides[0], left + sides[1]))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        box = (float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1))
        ours = crop_masks([png(mask)], fractions(box, mask), False, 56)[0, 2:-2, 2:-2]

        scale = min(128 / height, 128 / width)
        scaled = (int(scale * height), int(scale * width))
        small = tf.image.resize(mask[..., None], scaled, method="nearest")
        padded = tf.image.pad_to_bounding_box(small, 0, 0, 128, 128)
        on_padded = np.array([box]) / [height, width, height, width] * np.tile(scaled, 2) / 128
        theirs = tf.image.crop_and_resize(tf.cast(padded[None], tf.float32), on_padded, [0], [56, 56])[0, ..., 0] * 255

        for crop, overlaps in ((ours, direct), (theirs.numpy(), resized)):
            size = (int(box[3] - box[1]), int(box[2] - box[0]))
            pasted = cv2.resize(np.asarray(crop, np.float32), size, interpolation=cv2.INTER_AREA) >= 127.5
            truth = mask[int(box[0]) : int(box[2]), int(box[1]) : int(box[3])] != 0
            overlaps.append((pasted & truth).sum() / (pasted | truth).sum())
    assert np.mean(direct) > 0.98
    assert np.mean(direct) > np.mean(resized) + 0.01


def pil_png(mask: np.ndarray, mode: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(mask).convert(mode).save(file, "PNG")
    return file.getvalue()


FILTERS = {
    "none": cv2.IMWRITE_PNG_FILTER_NONE,
    "sub": cv2.IMWRITE_PNG_FILTER_SUB,
    "up": cv2.IMWRITE_PNG_FILTER_UP,
    "average": cv2.IMWRITE_PNG_FILTER_AVG,
    "paeth": cv2.IMWRITE_PNG_FILTER_PAETH,
    "mixed": cv2.IMWRITE_PNG_ALL_FILTERS,
}


@pytest.mark.parametrize("kind", [*FILTERS, "pillow", "one bit", "alpha"])
def test_rows_of_every_kind_of_png(kind: str) -> None:
    mask = ellipse(90, 120, (20, 30, 70, 101))
    if kind == "pillow":
        data = pil_png(mask, "L")
    elif kind == "one bit":
        data = pil_png(mask * 255, "1")
    elif kind == "alpha":
        data = pil_png(mask * 255, "LA")
    else:
        data = png(mask, cv2.IMWRITE_PNG_FILTER, FILTERS[kind])
    for first, last in ((0, 89), (0, 0), (35, 60), (70, 89), (19, 20), (89, 89)):
        np.testing.assert_array_equal(MaskPng(data).rows(first, last) != 0, mask[first : last + 1] != 0)


def test_noise_of_full_range_survives_every_filter() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (33, 47), np.uint8)
    for option in FILTERS.values():
        np.testing.assert_array_equal(MaskPng(png(noise, cv2.IMWRITE_PNG_FILTER, option)).rows(11, 30), noise[11:31])


def test_damaged_mask_is_refused_with_its_fault() -> None:
    whole = png(ellipse(40, 70, (10, 10, 30, 60)))
    box = np.array([[0.2, 0.2, 0.9, 0.9]], np.float32)
    for bad in (b"", b"no png", whole[:40], whole[:45] + b"\xff" * 30 + whole[75:]):
        with pytest.raises(ValueError, match="mask"):
            crop_masks([bad], box, False, 14)


def test_no_instances() -> None:
    assert crop_masks([], np.zeros((0, 4), np.float32), False, 14).shape == (0, 18, 18)
