"""Anchors compared with numbers computed by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from maskrcnn_trainer.model.anchors import AnchorRounding, anchors_per_level, feature_size, generate_anchors


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
                        y, x = stride / 2 + cell_y * stride, stride / 2 + cell_x * stride
                        h, w = base * height, base * width
                        rows.append([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
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
    ],
)
def test_all_anchors_one_by_one(geometry: Geometry, image_size: tuple[int, int]) -> None:
    expected = anchors_one_by_one(geometry, image_size)
    assert sum(anchors_per_level(geometry, image_size).values()) == len(expected)
    np.testing.assert_allclose(generate_anchors(geometry, image_size), expected, rtol=1e-6, atol=1e-5)


def test_feature_map_covers_an_image_that_is_not_a_multiple_of_the_stride() -> None:
    assert feature_size((100, 128), 5) == (4, 4)
