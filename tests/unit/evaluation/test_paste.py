"""Pasting of masks, compared with a plain loop, and run lengths, compared with pycocotools."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskrcnn_trainer.evaluation.paste import encode_pasted, mask_probabilities, paste_masks, run_lengths
from maskrcnn_trainer.model.architecture import MaskPasting

BOXES = [
    [3.2, 5.7, 30.1, 41.9],
    [0.0, 0.0, 40.0, 50.0],
    [-12.5, -7.0, 25.0, 70.0],
    [10.0, 10.0, 12.4, 11.1],
    [10.6, 10.6, 11.4, 11.4],
    [35.0, 45.0, 60.0, 90.0],
]


def paste_mask(
    logits: NDArray[Any], box: NDArray[Any], height: int, width: int, pasting: MaskPasting = "pixel_centers"
) -> NDArray[Any]:
    """Return one mask at the image's size."""
    (pasted,) = paste_masks(logits[None], box[None], height, width, pasting)
    return pasted.whole(height, width)


def pasted_by_loops(logits: NDArray[Any], box: list[float], height: int, width: int) -> NDArray[Any]:
    """Return the probability at every pixel's center in float64; NaN outside the box."""
    cells = logits.shape[0]
    y1, x1, y2, x2 = box

    def at(row: int, column: int) -> float:
        if 0 <= row < cells and 0 <= column < cells:
            return 1 / (1 + math.exp(-float(logits[row, column])))
        return 0.0

    result = np.full((height, width), np.nan)
    for row in range(height):
        for column in range(width):
            if not (y1 <= row + 0.5 <= y2 and x1 <= column + 0.5 <= x2):
                continue
            v = (row + 0.5 - y1) * cells / (y2 - y1) - 0.5
            u = (column + 0.5 - x1) * cells / (x2 - x1) - 0.5
            top, left = math.floor(v), math.floor(u)
            result[row, column] = sum(
                (1 - abs(v - r)) * (1 - abs(u - c)) * at(r, c) for r in (top, top + 1) for c in (left, left + 1)
            )
    return result


@pytest.mark.parametrize("box", BOXES)
def test_a_mask_is_resampled_over_its_box(box: list[float]) -> None:
    rng = np.random.default_rng(5)
    for size in (28, 14):
        logits = rng.normal(0, 4, (size, size)).astype(np.float32)
        expected = pasted_by_loops(logits, box, 40, 50)
        mask = paste_mask(logits, np.array(box), 40, 50)
        assert mask.shape == (40, 50)
        sure = np.isnan(expected) | (np.abs(expected - 0.5) > 1e-5)
        np.testing.assert_array_equal(mask[sure], np.nan_to_num(expected)[sure] >= 0.5)
        assert sure.mean() > 0.99


def resized(grid: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize a grid bilinearly in float64; centers of cells and pixels are at half integers, the border is repeated."""
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            v = max((row + 0.5) * grid.shape[0] / height - 0.5, 0.0)
            u = max((column + 0.5) * grid.shape[1] / width - 0.5, 0.0)
            top, left = math.floor(v), math.floor(u)
            for r, in_row in ((top, 1 - (v - top)), (min(top + 1, grid.shape[0] - 1), v - top)):
                for c, in_column in ((left, 1 - (u - left)), (min(left + 1, grid.shape[1] - 1), u - left)):
                    result[row, column] += in_row * in_column * grid[r, c]
    return result


def whole_pixels_by_loops(logits: NDArray[Any], box: list[float], height: int, width: int) -> NDArray[Any]:
    """Return the probability at every pixel as torchvision 0.14 pastes it; NaN where nothing is pasted."""
    grid = np.pad(1 / (1 + np.exp(-logits.astype(np.float64))), 1)
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2 * (len(grid) / (len(grid) - 2))
    first, last = np.trunc(middle - half).astype(int), np.trunc(middle + half).astype(int)
    values = resized(grid, *np.maximum(last - first + 1, 1))
    result = np.full((height, width), np.nan)
    for row, line in enumerate(values, start=int(first[0])):
        for column, value in enumerate(line, start=int(first[1])):
            if 0 <= row < height and 0 <= column < width:
                result[row, column] = value
    return result


@pytest.mark.parametrize("box", BOXES)
def test_a_mask_of_whole_pixels_is_resized_to_its_box(box: list[float]) -> None:
    rng = np.random.default_rng(6)
    for size in (28, 14):
        logits = rng.normal(0, 4, (size, size)).astype(np.float32)
        expected = whole_pixels_by_loops(logits, box, 40, 50)
        mask = paste_mask(logits, np.array(box), 40, 50, "whole_pixels")
        sure = np.isnan(expected) | (np.abs(expected - 0.5) > 1e-5)
        np.testing.assert_array_equal(mask[sure], np.nan_to_num(expected)[sure] > 0.5)
        assert sure.mean() > 0.99


def test_a_full_mask_of_whole_pixels_is_up_to_a_pixel_larger_than_its_box() -> None:
    """The box of 8 to 40 grows to 6.86 to 41.14: pixels 6 to 41, of which the first and the last are mostly border."""
    mask = paste_mask(np.full((28, 28), 20.0), np.array([8.0, 8.0, 40.0, 40.0]), 50, 50, "whole_pixels")
    assert np.flatnonzero(mask.any(axis=1)).tolist() == list(range(7, 41))
    assert np.flatnonzero(mask.any(axis=0)).tolist() == list(range(7, 41))


def test_a_probability_of_one_half_is_inside_only_at_pixel_centers() -> None:
    box = np.array([4.0, 6.0, 20.0, 30.0])
    assert paste_mask(np.zeros((28, 28)), box, 40, 50).any()
    assert not paste_mask(np.zeros((28, 28)), box, 40, 50, "whole_pixels").any()


@pytest.mark.parametrize(
    "box", [[math.nan] * 4, [0.0, 0.0, 3e38, 3e38], [-math.inf, 0.0, math.inf, 9.0], [10.0, 5.0, 9.2, 30.0]]
)
def test_a_box_that_no_image_has_gives_an_empty_mask_of_whole_pixels(box: list[float]) -> None:
    assert not paste_mask(np.full((28, 28), 20.0), np.array(box), 40, 50, "whole_pixels").any()


def test_a_full_mask_fills_its_box() -> None:
    mask = paste_mask(np.full((28, 28), 20.0), np.array([4.0, 6.0, 20.0, 30.0]), 40, 50)
    expected = np.zeros((40, 50), bool)
    expected[4:20, 6:30] = True
    np.testing.assert_array_equal(mask, expected)


def test_half_a_mask_ends_half_way() -> None:
    logits = np.full((28, 28), -20.0)
    logits[:, :14] = 20.0
    mask = paste_mask(logits, np.array([0.0, 0.0, 28.0, 56.0]), 28, 56)
    np.testing.assert_array_equal(mask.any(axis=0), np.arange(56) < 28)


@pytest.mark.parametrize(
    "box", [[5.0, 5.0, 5.0, 9.0], [9.0, 5.0, 3.0, 9.0], [5.6, 5.0, 6.4, 5.4], [50.0, 5.0, 60.0, 9.0], [math.nan] * 4]
)
def test_a_box_without_pixels_gives_an_empty_mask(box: list[float]) -> None:
    assert not paste_mask(np.full((28, 28), 20.0), np.array(box), 40, 50).any()
    (rle,) = encode_pasted(paste_masks(np.full((1, 28, 28), 20.0), np.array([box]), 40, 50), 40, 50)
    assert coco_mask.area(rle) == 0
    assert coco_mask.decode(rle).shape == (40, 50)


def test_probabilities_do_not_overflow() -> None:
    with np.errstate(all="raise"):
        values = mask_probabilities(np.array([-1e4, -2.0, 0.0, 2.0, 1e4], np.float32))
    np.testing.assert_allclose(values, [0, 0.11920292, 0.5, 0.88079708, 1], rtol=1e-6, atol=1e-7)
    assert values.dtype == np.float32


def test_encoded_masks_are_the_pasted_ones() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (30, 28, 28)).astype(np.float32)
    corner = rng.uniform(-10, 60, (30, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 90, (30, 2))], axis=1)
    boxes[0] = [0, 0, 70, 90]
    rles = encode_pasted(paste_masks(logits, boxes, 70, 90), 70, 90)
    for rle, grid, box in zip(rles, logits, boxes, strict=True):
        assert isinstance(rle["counts"], str)
        assert rle["size"] == [70, 90]
        mask = paste_mask(grid, box, 70, 90)
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)
        assert rle["counts"].encode() == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
    assert encode_pasted(paste_masks(np.zeros((0, 28, 28)), np.zeros((0, 4)), 70, 90), 70, 90) == []


@settings(max_examples=200)
@given(st.data())
def test_run_lengths_are_cocos(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left))
    bits = data.draw(st.lists(st.booleans(), min_size=rows * columns, max_size=rows * columns))
    region = np.array(bits, bool).reshape(columns, rows)
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + rows, left : left + columns] = region.T
    counts = run_lengths(region, top, left, height, width)
    assert sum(counts) == height * width
    assert all(count > 0 for count in counts[1:])
    ours = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    assert ours == coco_mask.encode(np.asfortranarray(mask))
