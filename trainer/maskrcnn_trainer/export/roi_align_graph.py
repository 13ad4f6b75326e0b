"""ROIAlign over the feature pyramid as ONNX nodes: all levels on one sheet, and one RoiAlign operator over it.

Choosing a level for each box would need lists of unknown length (NonZero), or pooling every box from all five levels.
Instead the levels are placed side by side on one sheet, each with a border of its own edge pixels, and every box is
translated to its level. Boxes lie within the image, so a sample is at most half a cell outside its level: there the
border has the values that RoiAlign-16 uses at the edge of a map, and no sample reaches the neighboring level.

Boxes that aren't aligned are at least a cell long, so that samples of smaller ones can be farther outside on the right
and at the bottom, where they count as zero. Such boxes are on the lowest level, which then ends where the sheet ends. A
box of a higher level has a side of less than a cell only if its other side has more than 1568 pixels; the last bins of
such a box at the edge of the image differ.

A box's position on the sheet is rounded to about 1e-5 cells. With adaptive sampling, a box whose side is this close to
a whole number of cells in each bin may thus have one sample more or less in each bin than in TensorFlow.

An aligned box without a side has no samples then. ONNX Runtime returns zeros for it, as TensorFlow here, but TensorRT
divides by their number (plugin/roiAlignPlugin/roiAlignKernel.cu), so such a box gets a side of `SHORTEST_SIDE`. It is a
missing proposal or detection, whose features aren't used, or so thin that its side is rounded away on the sheet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.export.boxes_graph import emit_area
from maskrcnn_trainer.export.dense import Emitted
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.model.roi_levels import level_bounds

EDGE = 1
"""Pixels on each side of a level that repeat its edge."""

SHORTEST_SIDE = 2.0**-8
"""In cells: far above the rounding of positions on a sheet, and a step in which features hardly change."""


@dataclass(frozen=True)
class Sheet:
    """All levels of the pyramid in one map.

    Attributes:
        tensor: float32 [N, C, sheet height, sheet width].
        min_level: the first level.
        aligned: whether the center of a level's first cell is at half a cell.
        layout: float32 [levels, 4], (1 / stride, top, left, 0) of each level: cells per pixel of the padded image, and
            the level's first row and column on the sheet.
    """

    tensor: str
    min_level: int
    aligned: bool
    layout: NDArray[np.float32]


def emit_sheet(g: GraphBuilder, maps: Mapping[int, Emitted], *, aligned: bool = True) -> Sheet:
    """Add nodes that place all levels on a sheet: the largest above, the others side by side below it.

    If boxes aren't aligned, the largest is below the others, without a border, and ends in the sheet's corner.

    Args:
        g: the graph.
        maps: level -> [N, C, h, w]; level l has stride 2^l. At least two.
        aligned: whether the center of a level's first cell is at half a cell.
    """
    with g.scope("canvas"):
        levels = sorted(maps)
        first, others = levels[0], levels[1:]
        with_edge = levels if aligned else others
        sizes = {level: (maps[level].shape[1] + 2 * EDGE, maps[level].shape[2] + 2 * EDGE) for level in with_edge}
        bordered = {
            level: g.op("Pad", maps[level].name, g.integers(0, 0, EDGE, EDGE, 0, 0, EDGE, EDGE), mode="edge")
            for level in with_edge
        }
        if not aligned:
            sizes[first], bordered[first] = (maps[first].shape[1], maps[first].shape[2]), maps[first].name
        height = max(sizes[level][0] for level in others)
        width = max(sizes[first][1], sum(sizes[level][1] for level in others))
        rest = width - sizes[first][1]
        top, corner = (sizes[first][0], (EDGE, EDGE)) if aligned else (0, (height, rest))
        layout = [(2.0**-first, *corner, 0.0)]
        row, left = [], 0
        for level in others:
            layout.append((2.0**-level, top + EDGE, left + EDGE, 0.0))
            left += sizes[level][1]
            row.append(_grown(g, bordered[level], bottom=height - sizes[level][0]))
        small = _grown(g, g.op("Concat", *row, axis=3), right=width - left)
        large = _grown(g, bordered[first], **{"right" if aligned else "left": rest})
        parts = (large, small) if aligned else (small, large)
        return Sheet(g.op("Concat", *parts, axis=2), first, aligned, np.asarray(layout, np.float32))


def _grown(g: GraphBuilder, tensor: str, *, left: int = 0, right: int = 0, bottom: int = 0) -> str:
    """Add nodes that pad with zeros."""
    if not (left or right or bottom):
        return tensor
    return g.op("Pad", tensor, g.integers(0, 0, 0, left, 0, 0, bottom, right))


def emit_image_index(g: GraphBuilder, boxes: str, count: int) -> str:
    """Add nodes for int64 [N * count], the image index of each box in boxes [N, count, 4]."""
    batch = g.op("Squeeze", g.op("Shape", boxes, end=1), g.integers(0))
    images = g.op("Range", g.constant(np.asarray(0, np.int64)), batch, g.constant(np.asarray(1, np.int64)))
    repeated = g.op("Expand", g.op("Unsqueeze", images, g.integers(1)), g.integers(1, count))
    return g.reshape(repeated, -1)


def emit_roi_align(
    g: GraphBuilder, sheet: Sheet, boxes: str, count: int, output_size: int, *, sampling_ratio: int, scope: str
) -> Emitted:
    """Add nodes that pool boxes [N, R, 4] to float32 [N * R, C, n, n].

    Args:
        g: the graph.
        sheet: all levels of the pyramid.
        boxes: y1 x1 y2 x2 in pixels of the padded image.
        count: R.
        output_size: n.
        sampling_ratio: samples of a bin along each axis; 0 for ceil(side of the box in cells / n).
        scope: scope of the nodes' names.
    """
    with g.scope(scope):
        levels = len(sheet.layout)
        bounds = level_bounds(sheet.min_level, sheet.min_level + levels - 1)
        # As in TensorFlow: areas are compared with powers of two, which is exact and also works for empty boxes.
        reached = g.op("GreaterOrEqual", emit_area(g, boxes), g.constant(np.asarray(bounds, np.float32)))
        index = g.op("ReduceSum", g.op("Cast", reached, to=6), g.integers(-1), keepdims=0)  # 6 is INT32
        transform = g.op("Gather", g.constant(sheet.layout), index, axis=0)
        scale, top, left, _ = g.ops("Split", transform, g.integers(1, 1, 1, 1), outputs=4, axis=-1)
        offset = g.op("Concat", left, top, left, top, axis=-1)
        turned = g.op("Gather", boxes, g.integers(1, 0, 3, 2), axis=2)
        moved = g.op("Add", g.op("Mul", turned, scale), offset)
        if sheet.aligned and sampling_ratio == 0:
            start, end = g.halves(moved)
            end = g.op("Max", end, g.op("Add", start, g.number(SHORTEST_SIDE)))
            moved = g.op("Concat", start, end, axis=-1)
        pooled = g.op(
            "RoiAlign",
            sheet.tensor,
            g.reshape(moved, -1, 4),
            emit_image_index(g, boxes, count),
            mode="avg",
            coordinate_transformation_mode="half_pixel" if sheet.aligned else "output_half_pixel",
            output_height=output_size,
            output_width=output_size,
            sampling_ratio=sampling_ratio,
            spatial_scale=1.0,
        )
        return Emitted(pooled, (-1, output_size, output_size))
