"""Anchors of the region proposal network over the levels of the feature pyramid.

Faster R-CNN (Ren et al., arXiv:1506.01497) with one scale a level as in Feature Pyramid Networks (Lin et al.,
arXiv:1612.03144, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt


class AnchorGeometry(Protocol):
    """The part of an architecture that anchors depend on."""

    @property
    def min_level(self) -> int: ...

    @property
    def max_level(self) -> int: ...

    @property
    def num_scales(self) -> int: ...

    @property
    def aspect_ratios(self) -> Sequence[tuple[float, float]]: ...

    @property
    def anchor_scale(self) -> float: ...


def feature_size(image_size: tuple[int, int], level: int) -> tuple[int, int]:
    """Height and width of the feature map of ``level`` for a padded image of ``image_size`` (height, width) pixels.

    Every stride-2 layer rounds up, so an image that is no multiple of the stride has a last cell that overhangs it.
    """
    height, width = image_size
    stride = 2**level
    return -(-int(height) // stride), -(-int(width) // stride)


def anchors_per_level(architecture: AnchorGeometry, image_size: tuple[int, int]) -> dict[int, int]:
    """Number of anchors of each level, levels ascending, for a padded image of ``image_size`` (height, width)."""
    per_cell = int(architecture.num_scales) * len(architecture.aspect_ratios)
    counts = {}
    for level in range(architecture.min_level, architecture.max_level + 1):
        rows, columns = feature_size(image_size, level)
        counts[level] = rows * columns * per_cell
    return counts


def generate_anchors(architecture: AnchorGeometry, image_size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """All anchors of a padded image, neither clipped to it nor filtered.

    The anchor of scale number o and aspect (w, h) on level l measures ``anchor_scale * 2**l * 2**(o / num_scales)``
    times w and h, centred in its cell.

    Args:
        architecture: has min_level, max_level, num_scales, aspect_ratios as (width, height) and anchor_scale.
        image_size: (height, width) of the padded image in pixels.

    Returns:
        float32 [A, 4], y1 x1 y2 x2 in pixels of the padded image: levels ascending, cells row-major, scale outer,
        aspect inner.
    """
    levels: list[npt.NDArray[np.float64]] = []
    for level in range(architecture.min_level, architecture.max_level + 1):
        stride = 2.0**level
        rows, columns = feature_size(image_size, level)
        octaves = np.arange(architecture.num_scales) / architecture.num_scales
        bases = architecture.anchor_scale * stride * 2.0**octaves
        aspects = np.asarray(architecture.aspect_ratios, np.float64).reshape(-1, 2)
        half_width = 0.5 * np.outer(bases, aspects[:, 0]).ravel()
        half_height = 0.5 * np.outer(bases, aspects[:, 1]).ravel()
        around_centre = np.stack([-half_height, -half_width, half_height, half_width], axis=-1)

        centre_y = (np.arange(rows) + 0.5) * stride
        centre_x = (np.arange(columns) + 0.5) * stride
        grid_y, grid_x = np.meshgrid(centre_y, centre_x, indexing="ij")
        centres = np.stack([grid_y, grid_x, grid_y, grid_x], axis=-1)
        levels.append((centres[:, :, None, :] + around_centre).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)
