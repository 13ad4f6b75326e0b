from __future__ import annotations

import io
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from maskrcnn_trainer.conversion.png import to_png
from maskrcnn_trainer.data.mask_png import MaskPng
from maskrcnn_trainer.data.segmentations import BrokenSegmentation, Mask, is_outside_of_box, to_mask, to_rle

SQUARE = [2.0, 1.0, 5.0, 1.0, 5.0, 4.0, 2.0, 4.0]  # columns 2..4, rows 1..3


def square() -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:5] = 1
    return mask


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


@pytest.mark.parametrize("segmentation", [[SQUARE], compressed(square()), uncompressed(square())])
def test_all_three_forms_give_the_mask(segmentation: Any) -> None:
    mask, remark = to_mask(segmentation, 6, 8)
    np.testing.assert_array_equal(mask.full(), square())
    assert mask.box == (2, 1, 3, 3)
    assert remark == ""


def test_polygons_are_joined() -> None:
    mask, _ = to_mask([SQUARE, [6, 4, 8, 4, 8, 6, 6, 6]], 6, 8)
    expected = square()
    expected[4:6, 6:8] = 1
    np.testing.assert_array_equal(mask.full(), expected)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_run_lengths_of_any_mask_are_understood(seed: int, height: int, width: int, share: float) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    for segmentation in (compressed(mask), uncompressed(mask)):
        np.testing.assert_array_equal(to_mask(segmentation, height, width)[0].full(), mask)


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ([], "the list of polygons is empty"),
        (SQUARE, "a flat list of numbers; expected a list of polygons"),
        ([[1, 2, 3, 4]], "polygon 0: 2 points; expected at least 3"),
        ([[1, 2, 3, 4, 5, 6, 7]], "polygon 0: 7 numbers; expected pairs x, y"),
        ([[1, 2, 3, 4, 5, None]], "polygon 0: not a list of numbers"),
        ([[1, 2, 3, 4, 5, float("inf")]], "polygon 0: not a list of numbers"),
        ([{"size": [6, 8], "counts": [48]}], "polygon 0: not a list of numbers"),
        (
            [[1, 2, 3, 4, 1e9, 6]],
            r"polygon 0: coordinate 1000000000\.0 is farther from the 8x6 image than its own size",
        ),
        ([[1, 2, 3, -7, 4, 6]], "polygon 0: coordinate -7 is farther"),
        ({"size": [8, 6], "counts": [48]}, r"run lengths have size \[8, 6\]: the image is \[6, 8\] \(height, width\)"),
        ({"counts": [48]}, "run lengths have size None"),
        ({"size": [6, 8]}, "counts of run lengths: .* found None"),
        ({"size": [6, 8], "counts": [40, 7]}, "run lengths cover 47 pixels of 48"),
        ({"size": [6, 8], "counts": [40, 9]}, "run lengths cover 49 pixels of 48"),
        ({"size": [6, 8], "counts": [50, -2]}, "a run length is negative"),
        ({"size": [6, 8], "counts": [4.5, 43.5]}, "expected a list of whole numbers or COCO's text"),
        ({"size": [6, 8], "counts": "~~~"}, "not COCO's compressed run lengths"),
        ({"size": [6, 8], "counts": "é"}, "not COCO's compressed run lengths"),
        ({"size": [6, 8], "counts": "o"}, "end too early"),
        ({"size": [6, 8], "counts": "oooooooooo0"}, "not COCO's compressed run lengths"),
        ({"size": [6, 8], "counts": ""}, "run lengths cover 0 pixels of 48"),
        ({"size": [6, 8], "counts": compressed(square())["counts"] + "1"}, "run lengths cover"),
    ],
)
def test_invalid_segmentation_is_refused(segmentation: Any, reason: str) -> None:
    with pytest.raises(BrokenSegmentation, match=reason):
        to_mask(segmentation, 6, 8)
    with pytest.raises(BrokenSegmentation, match=reason):
        to_rle(segmentation, 6, 8)


@pytest.mark.parametrize(
    "segmentation",
    [[SQUARE], [[1, 1, 2, 2], SQUARE], {"size": [6, 8], "counts": [7, 3, 38]}, compressed(square())],
)
def test_run_lengths_are_those_of_the_mask(segmentation: Any) -> None:
    np.testing.assert_array_equal(coco_mask.decode(to_rle(segmentation, 6, 8)), to_mask(segmentation, 6, 8)[0].full())


def test_one_good_polygon_is_enough() -> None:
    mask, remark = to_mask([[1, 1, 2, 2], SQUARE], 6, 8)
    np.testing.assert_array_equal(mask.full(), square())
    assert remark == "polygon 0: 2 points; expected at least 3"


def test_polygon_may_extend_beyond_the_image() -> None:
    mask, remark = to_mask([[-4, -3, 12, -3, 12, 3, -4, 3]], 6, 8)
    expected = np.zeros((6, 8), np.uint8)
    expected[:3] = 1
    np.testing.assert_array_equal(mask.full(), expected)
    assert remark == ""


@pytest.mark.parametrize("segmentation", [[[2, 1, 2, 1, 2, 1]], {"size": [6, 8], "counts": [48]}])
def test_an_empty_mask_has_no_pixels(segmentation: Any) -> None:
    assert to_mask(segmentation, 6, 8)[0].pixels.shape == (0, 0)


@pytest.mark.parametrize(
    ("bbox", "outside"),
    [
        # The mask's outline goes from 9.5 to 19.5 in both directions, in an image of 100x100.
        ((10.0, 10.0, 10.0, 10.0), False),
        ((10.5, 10.0, 9.0, 10.0), False),  # x - 1 = 9.5 touches
        ((10.6, 10.0, 9.0, 10.0), True),  # x - 1 = 9.6 > 9.5
        ((10.0, 10.5, 10.0, 9.0), False),
        ((10.0, 10.6, 10.0, 9.0), True),
        ((10.0, 10.0, 8.5, 10.0), False),  # x + w + 1 = 19.5 touches
        ((10.0, 10.0, 8.4, 10.0), True),
        ((10.0, 10.0, 10.0, 8.5), False),
        ((10.0, 10.0, 10.0, 8.4), True),
        ((0.0, 0.0, 100.0, 100.0), False),
    ],
)
def test_mask_may_exceed_its_box_by_a_pixel_and_a_half(bbox: tuple[float, float, float, float], outside: bool) -> None:
    assert is_outside_of_box(Mask(100, 100, 10, 10, np.ones((10, 10), np.uint8)), bbox) is outside


@pytest.mark.parametrize(
    ("bbox", "outside"),
    [
        # The outline ends at the outermost pixels, 0 and 99, not half a pixel beyond them.
        ((1.0, 1.0, 97.0, 97.0), False),
        ((1.1, 1.0, 97.0, 97.0), True),
        ((1.0, 1.0, 96.9, 97.0), True),
        ((1.0, 1.1, 97.0, 97.0), True),
        ((1.0, 1.0, 97.0, 96.9), True),
    ],
)
def test_at_the_edge_of_the_image(bbox: tuple[float, float, float, float], outside: bool) -> None:
    assert is_outside_of_box(Mask(100, 100, 0, 0, np.ones((100, 100), np.uint8)), bbox) is outside


def random_mask(seed: int, height: int, width: int, share: float) -> np.ndarray:
    """Mask with random pixels set within a random rectangle."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    (y1, y2), (x1, x2) = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
    mask[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < share
    return mask


@settings(max_examples=80)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 50) | st.integers(300, 900),
    st.integers(1, 50) | st.integers(300, 900),
    st.sampled_from([0.0, 0.02, 0.5, 1.0]),
)
def test_png_holds_the_mask(seed: int, height: int, width: int, share: float) -> None:
    expected = random_mask(seed, height, width, share)
    mask, _ = to_mask(compressed(expected), height, width)
    np.testing.assert_array_equal(mask.full(), expected)
    png = to_png(mask)
    image = Image.open(io.BytesIO(png))
    assert (image.mode, image.format, image.size) == ("L", "PNG", (width, height))
    np.testing.assert_array_equal(np.asarray(image), expected)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED), expected)
    np.testing.assert_array_equal(MaskPng(png).rows(0, height - 1), expected)
    data = png[png.index(b"IDAT") + 4 : -16]
    assert len(zlib.decompress(data)) == height * (width + 1), "the checksum of the stream is right"


def test_the_part_that_is_kept_is_the_smallest() -> None:
    mask, _ = to_mask(compressed(square()), 6, 8)
    assert mask.box == (2, 1, 3, 3)
    assert mask.pixels.shape == (3, 3)
