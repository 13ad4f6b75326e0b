"""Anchors of the region proposal network over the levels of the feature pyramid.

Faster R-CNN (Ren et al., arXiv:1506.01497), with anchors of each level as in Feature Pyramid Networks (Lin et al.,
arXiv:1612.03144, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

AnchorRounding = Literal["none", "corners"]
"""Rounding of anchors: none, or, as in torchvision, of the corners of the box around the origin."""


class AnchorGeometry(Protocol):
    """Part of an architecture that anchors depend on."""

    @property
    def min_level(self) -> int:
        """Lowest level of the feature pyramid."""

    @property
    def max_level(self) -> int:
        """Highest level of the feature pyramid."""

    @property
    def num_scales(self) -> int:
        """Anchor sizes per octave."""

    @property
    def aspect_ratios(self) -> Sequence[tuple[float, float]]:
        """(width, height) multipliers of an anchor's side."""

    @property
    def anchor_scale(self) -> float:
        """Side of a square anchor, in strides of its level."""

    @property
    def anchor_offset(self) -> float:
        """Center of the anchors of the first cell, in strides of its level."""

    @property
    def anchor_rounding(self) -> AnchorRounding:
        """Rounding of an anchor's corners to whole pixels, relative to its center."""


def feature_size(image_size: tuple[int, int], level: int) -> tuple[int, int]:
    """Return height and width of the feature map of ``level`` for a padded image of ``image_size`` (height, width).

    Every layer with stride 2 rounds up, so the last cell extends beyond an image whose side isn't a multiple of the
    stride.
    """
    height, width = image_size
    stride = 2**level
    return -(-int(height) // stride), -(-int(width) // stride)


def anchors_per_level(architecture: AnchorGeometry, image_size: tuple[int, int]) -> dict[int, int]:
    """Return the number of anchors by level, ascending, for a padded image of ``image_size`` (height, width)."""
    per_cell = int(architecture.num_scales) * len(architecture.aspect_ratios)
    counts = {}
    for level in range(architecture.min_level, architecture.max_level + 1):
        rows, columns = feature_size(image_size, level)
        counts[level] = rows * columns * per_cell
    return counts


def generate_anchors(architecture: AnchorGeometry, image_size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return all anchors of a padded image, neither clipped to it nor filtered.

    On level l, the anchors of cell (row, column) are centered at ``(row + anchor_offset) * 2**l`` and ``(column +
    anchor_offset) * 2**l``: in the middle of the cell with an offset of 0.5, at its upper left corner with 0, as in
    torchvision, Detectron2, and MMDetection. The anchor of scale number o and aspect (w, h) has a width of
    ``anchor_scale * 2**l * 2**(o / num_scales)`` times w, and a height of the same times h. With ``anchor_rounding``
    "corners" half of each is rounded to whole pixels, .5 to the even number (torchvision 0.14,
    ``models/detection/anchor_utils.py``), so each level has slightly different ratios.

    Args:
        architecture: levels, scales, aspect ratios, offset, and rounding.
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
        around_center = np.stack([-half_height, -half_width, half_height, half_width], axis=-1)
        if architecture.anchor_rounding == "corners":
            around_center = np.rint(around_center)

        center_y = (np.arange(rows) + architecture.anchor_offset) * stride
        center_x = (np.arange(columns) + architecture.anchor_offset) * stride
        grid_y, grid_x = np.meshgrid(center_y, center_x, indexing="ij")
        centers = np.stack([grid_y, grid_x, grid_y, grid_x], axis=-1)
        levels.append((centers[:, :, None, :] + around_center).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)
