"""Anchors compared with numbers computed by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from maskrcnn_trainer.model.anchors import AnchorRounding, anchors_per_level, feature_size, generate_anchors

ROOT = math.sqrt(2)
WIDE_FIRST = ((ROOT, 1 / ROOT), (1.0, 1.0), (1 / ROOT, ROOT))
"""Aspect ratios of torchvision, Detectron2, and MMDetection, height by width .5, 1, and 2, as factors of the sides."""


@dataclass
class Geometry:
    min_level: int = 2
    max_level: int = 6
    num_scales: int = 1
    aspect_ratios: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
    anchor_scale: float = 8.0
    anchor_offset: float = 0.5
    anchor_rounding: AnchorRounding = "none"


def anchors_one_by_one(geometry: Geometry, image_size: tuple[int, int]) -> np.ndarray:
    rows = []
    for level in range(geometry.min_level, geometry.max_level + 1):
        stride = 2**level
        for cell_y in range((image_size[0] + stride - 1) // stride):
            for cell_x in range((image_size[1] + stride - 1) // stride):
                for octave in range(geometry.num_scales):
                    base = geometry.anchor_scale * stride * 2 ** (octave / geometry.num_scales)
                    for width, height in geometry.aspect_ratios:
                        y, x = (cell_y + geometry.anchor_offset) * stride, (cell_x + geometry.anchor_offset) * stride
                        h, w = base * height / 2, base * width / 2
                        if geometry.anchor_rounding == "corners":
                            h, w = round(h), round(w)
                        rows.append([y - h, x - w, y + h, x + w])
    return np.array(rows)


def test_an_image_of_832_x_1344_has_279279_anchors() -> None:
    counts = anchors_per_level(Geometry(), (832, 1344))
    assert list(counts.items()) == [(2, 209664), (3, 52416), (4, 13104), (5, 3276), (6, 819)]
    anchors = generate_anchors(Geometry(), (832, 1344))
    assert anchors.shape == (279279, 4)
    assert anchors.dtype == np.float32


def test_the_square_anchors_of_the_levels_measure_32_to_512_pixels() -> None:
    anchors = generate_anchors(Geometry(), (832, 1344))
    first = 0
    for count, size in zip(anchors_per_level(Geometry(), (832, 1344)).values(), (32, 64, 128, 256, 512), strict=True):
        square = anchors[first : first + count : 3]
        np.testing.assert_array_equal(square[:, 2:] - square[:, :2], np.full((count // 3, 2), size))
        first += count


def test_the_first_anchors_by_hand() -> None:
    """Center (2, 2); 32 x 32, then 44.8 wide and 22.4 high, then the reverse; then one cell to the right."""
    expected = [
        [-14.0, -14.0, 18.0, 18.0],
        [-9.2, -20.4, 13.2, 24.4],
        [-20.4, -9.2, 24.4, 13.2],
        [-14.0, -10.0, 18.0, 22.0],
    ]
    np.testing.assert_allclose(generate_anchors(Geometry(), (64, 128))[:4], expected, rtol=1e-6)


def test_rows_of_cells_follow_each_other() -> None:
    """With rows of 128 pixels, level 2 has 32 cells in a row, so its second row starts at anchor 96."""
    np.testing.assert_allclose(generate_anchors(Geometry(), (64, 128))[96], [-10.0, -14.0, 22.0, 18.0])


@pytest.mark.parametrize(
    ("geometry", "image_size"),
    [
        (Geometry(), (128, 192)),
        (Geometry(max_level=5, num_scales=3, aspect_ratios=((1.0, 1.0), (2.0, 0.5)), anchor_scale=4.0), (64, 96)),
        (Geometry(num_scales=2, anchor_scale=6.5), (100, 130)),
        (Geometry(anchor_offset=0.0), (128, 192)),
        (Geometry(anchor_offset=0.0, anchor_rounding="corners", num_scales=2, anchor_scale=6.5), (64, 128)),
    ],
)
def test_all_anchors_one_by_one(geometry: Geometry, image_size: tuple[int, int]) -> None:
    expected = anchors_one_by_one(geometry, image_size)
    assert sum(anchors_per_level(geometry, image_size).values()) == len(expected)
    np.testing.assert_allclose(generate_anchors(geometry, image_size), expected, rtol=1e-6, atol=1e-5)


def test_feature_map_covers_an_image_that_is_not_a_multiple_of_the_stride() -> None:
    assert feature_size((100, 128), 5) == (4, 4)


def sides_of_levels(anchors: npt.NDArray[np.float32], geometry: Geometry) -> dict[int, list[list[float]]]:
    """Return width and height of each anchor of the first cell by level."""
    first, found = 0, {}
    for level, count in anchors_per_level(geometry, (128, 128)).items():
        cell = anchors[first : first + len(geometry.aspect_ratios)]
        found[level] = (cell[:, [3, 2]] - cell[:, [1, 0]]).tolist()
        first += count
    return found


def test_rounded_corners_give_the_sides_of_torchvision() -> None:
    """The sides that torchvision 0.14 computes for sizes of 32 to 512 and ratios .5, 1, 2."""
    geometry = Geometry(aspect_ratios=WIDE_FIRST, anchor_offset=0.0, anchor_rounding="corners")
    assert sides_of_levels(generate_anchors(geometry, (128, 128)), geometry) == {
        2: [[46, 22], [32, 32], [22, 46]],
        3: [[90, 46], [64, 64], [46, 90]],
        4: [[182, 90], [128, 128], [90, 182]],
        5: [[362, 182], [256, 256], [182, 362]],
        6: [[724, 362], [512, 512], [362, 724]],
    }


def test_half_a_pixel_is_rounded_to_the_even_number() -> None:
    geometry = Geometry(aspect_ratios=((1.0, 1.0),), anchor_scale=1.25, anchor_rounding="corners", anchor_offset=0.0)
    assert sides_of_levels(generate_anchors(geometry, (128, 128)), geometry)[2] == [[4, 4]]


def test_anchors_of_offset_zero_are_those_of_detectron2_in_float32() -> None:
    """Corners around (column, row) * stride, from the area and the ratio of height to width, in float32 at the end."""
    geometry = Geometry(aspect_ratios=WIDE_FIRST, anchor_offset=0.0)
    anchors, first = generate_anchors(geometry, (128, 192)), 0
    for level, count in anchors_per_level(geometry, (128, 192)).items():
        stride, cells = 2**level, []
        for ratio in (0.5, 1.0, 2.0):
            width = math.sqrt((8 * stride) ** 2 / ratio)
            cells.append([-ratio * width / 2, -width / 2, ratio * width / 2, width / 2])
        rows, columns = np.meshgrid(np.arange(0, 128, stride), np.arange(0, 192, stride), indexing="ij")
        shifts = np.stack([rows, columns, rows, columns], axis=-1).reshape(-1, 1, 4)
        expected = (np.float32(cells) + shifts.astype(np.float32)).reshape(-1, 4)
        np.testing.assert_allclose(anchors[first : first + count], expected, rtol=2e-7, atol=2e-5)
        first += count
