"""Box arithmetic as ONNX nodes, with the formulas of ``model.boxes``: y1 x1 y2 x2 in pixels of the padded image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.model.boxes import MAX_LOG_SCALE


def centers_and_sizes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert boxes [.., 4] to center y, center x, height, width."""
    size = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([boxes[..., :2] + np.float32(0.5) * size, size], axis=-1)


def emit_center_and_size(g: GraphBuilder, boxes: str) -> tuple[str, str]:
    """Add nodes for the centers and sizes, [.., 2] each, of boxes [.., 4]."""
    start, end = g.halves(boxes)
    size = g.op("Sub", end, start)
    return g.op("Add", start, g.op("Mul", size, g.number(0.5))), size


def emit_decode(
    g: GraphBuilder,
    deltas: str,
    moved: tuple[str, str],
    image_size: tuple[int, int],
    weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    *,
    clip_small: bool = False,
) -> str:
    """Add nodes that apply offsets to boxes and clip the results [.., 4] to the image.

    Args:
        g: the graph.
        deltas: offsets [.., 4], multiplied by ``weights``.
        moved: centers and sizes, [.., 2] each, of the boxes that the offsets move.
        image_size: (height, width) of the padded image in pixels.
        weights: divisors of the four offsets.
        clip_small: see ``model.boxes.decode_boxes``.
    """
    center, size = moved
    if any(weight != 1.0 for weight in weights):
        deltas = g.op("Div", deltas, g.constant(np.asarray(weights, np.float32)))
    shift, scale = g.halves(deltas)
    center = g.op("Add", g.op("Mul", shift, size), center)
    half_size = g.op("Mul", size, g.number(0.5))
    scale = g.op("Min", scale, g.number(MAX_LOG_SCALE))
    if clip_small:
        scale = g.op("Max", scale, g.number(-MAX_LOG_SCALE))
    half = g.op("Mul", half_size, g.op("Exp", scale))
    boxes = g.op("Concat", g.op("Sub", center, half), g.op("Add", center, half), axis=-1)
    height, width = image_size
    limit = g.constant(np.asarray([height, width, height, width], np.float32))
    return g.op("Min", g.op("Max", boxes, g.number(0.0)), limit)


def emit_sides(g: GraphBuilder, boxes: str) -> tuple[str, str]:
    """Add nodes for the heights and widths, [.., 1] each and at least 0, of boxes [.., 4]."""
    start, end = g.halves(boxes)
    sides = g.op("Max", g.op("Sub", end, start), g.number(0.0))
    height, width = g.ops("Split", sides, g.integers(1, 1), outputs=2, axis=-1)
    return height, width


def emit_shorter_side(g: GraphBuilder, boxes: str) -> str:
    """Add nodes for the shorter sides [..] of boxes [.., 4]."""
    return g.op("Squeeze", g.op("Min", *emit_sides(g, boxes)), g.integers(-1))


def emit_at_least(g: GraphBuilder, values: str, least: float) -> str:
    """Add nodes for bool, whether values are at least ``least``."""
    return g.op("Not", g.op("Less", values, g.number(least)))


def emit_area(g: GraphBuilder, boxes: str) -> str:
    """Add nodes for the areas [.., 1] of boxes [.., 4]."""
    return g.op("Mul", *emit_sides(g, boxes))


def emit_kept(g: GraphBuilder, selected: str, values: str, missing: str) -> str:
    """Add nodes that keep the values selected by NonMaxSuppression and lower the others to at most ``missing``.

    Args:
        g: the graph.
        selected: int64 [S, 3], the output of NonMaxSuppression: group, class, index.
        values: [G, n].
        missing: scalar.
    """
    indices = g.op("Gather", selected, g.integers(0, 2), axis=1)
    kept = g.op("GatherND", values, indices)
    # A minimum instead of an expanded constant: all but the batch dimension of its shape is static.
    return g.op("ScatterND", g.op("Min", values, missing), indices, kept)


def emit_gather(g: GraphBuilder, values: str, index: str) -> str:
    """Add nodes that gather ``values`` [N, n, ..] at ``index`` int64 [N, k] of their second axis: [N, k, ..]."""
    return g.op("GatherND", values, g.op("Unsqueeze", index, g.integers(-1)), batch_dims=1)
