"""Proposals as ONNX nodes, equivalent to ``model.proposals.propose``.

NonMaxSuppression outputs a list of unknown length. To get static shapes again, the kept ranks are scattered into a
tensor of very low ranks, and TopK takes the best of that. All later shapes depend on the batch size only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.export.boxes_graph import (
    centers_and_sizes,
    emit_at_least,
    emit_decode,
    emit_gather,
    emit_kept,
    emit_shorter_side,
)
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.model.predict import InferenceSettings


class _Ranks(NamedTuple):
    """Numbers by which proposals are ranked.

    The graph compares them instead of sigmoids, because runtimes clamp their sigmoids.
    """

    missing: float
    """Rank of a missing proposal."""
    lowest: float
    """Rank below which a float32 sigmoid is 0, which marks a missing proposal in TensorFlow."""


LOGITS = _Ranks(missing=-1e30, lowest=-88.0)
SATURATED = _Ranks(missing=-3e38, lowest=-math.exp(88.0))
"""See ``model.proposals.saturated_ranks``."""


class Proposals(NamedTuple):
    """Proposals in the graph."""

    boxes: str
    """float32 [N, R, 4], y1 x1 y2 x2 in pixels of the padded image, best first; missing ones are zeros."""
    per_image: int
    """R, the number of proposals per image."""


def emit_proposals(
    g: GraphBuilder,
    logits: Sequence[str],
    deltas: Sequence[str],
    *,
    anchors: NDArray[np.float32],
    level_sizes: Mapping[int, int],
    image_size: tuple[int, int],
    settings: InferenceSettings,
    least_side: float = 0.0,
    clip_small_deltas: bool = False,
    rank_by_sigmoid: bool = False,
) -> Proposals:
    """Add nodes for the best boxes of each image after suppression within each level.

    Args:
        g: the graph.
        logits: [N, A_l] for each level l, ascending.
        deltas: [N, A_l, 4] for each level l, ascending.
        anchors: float32 [A, 4], y1 x1 y2 x2 in pixels of the padded image, levels ascending.
        level_sizes: number of anchors A_l by level.
        image_size: (height, width) of the padded image in pixels.
        settings: settings for inference.
        least_side: smallest height and width of a proposal, if larger than in the settings, in pixels.
        clip_small_deltas: see ``model.boxes.decode_boxes``.
        rank_by_sigmoid: see ``model.proposals.propose``.
    """
    missing_rank, lowest = SATURATED if rank_by_sigmoid else LOGITS
    with g.scope("proposals"):
        longest = min(settings.pre_nms_topn, max(level_sizes.values()))
        centers = centers_and_sizes(anchors)
        first = 0
        level_ranks, level_deltas, level_anchors = [], [], []
        for size, own_logits, own_deltas in zip(level_sizes.values(), logits, deltas, strict=True):
            count = min(longest, size)
            ranks = _saturated_ranks(g, own_logits) if rank_by_sigmoid else own_logits
            best, index = g.ops("TopK", ranks, g.integers(count), outputs=2, axis=1)
            moved = emit_gather(g, own_deltas, index)
            around = g.op("Gather", g.constant(centers[first : first + size]), index, axis=0)
            first += size
            if count < longest:
                missing = longest - count
                best = g.op("Pad", best, g.integers(0, 0, 0, missing), g.number(missing_rank))
                moved = g.op("Pad", moved, g.integers(0, 0, 0, 0, missing, 0))
                around = g.op("Pad", around, g.integers(0, 0, 0, 0, missing, 0))
            level_ranks.append(g.op("Unsqueeze", best, g.integers(1)))
            level_deltas.append(g.op("Unsqueeze", moved, g.integers(1)))
            level_anchors.append(g.op("Unsqueeze", around, g.integers(1)))

        candidates = g.op("Concat", *level_ranks, axis=1)  # [N, L, n]
        around = g.op("Concat", *level_anchors, axis=1)
        moved = g.op("Concat", *level_deltas, axis=1)
        boxes = emit_decode(g, moved, g.halves(around), image_size, clip_small=clip_small_deltas)
        valid = _valid(g, boxes, candidates, max(settings.rpn_min_size, least_side), lowest)

        flat_ranks = g.reshape(candidates, -1, longest)
        rank = g.constant(np.arange(longest, 0, -1, dtype=np.float32))
        scores = g.op("Where", valid, rank, g.number(-1.0))
        selected = g.op(
            "NonMaxSuppression",
            g.reshape(boxes, -1, longest, 4),
            g.reshape(scores, -1, 1, longest),
            g.integers(settings.post_nms_topn),
            g.constant(np.asarray([settings.rpn_nms_threshold], np.float32)),
            g.constant(np.zeros(1, np.float32)),
        )
        total = len(logits) * longest
        proposals = min(settings.post_nms_topn, total)
        kept = g.reshape(emit_kept(g, selected, flat_ranks, g.number(missing_rank)), -1, total)
        best, index = g.ops("TopK", kept, g.integers(proposals), outputs=2, axis=1)
        found = g.op("Unsqueeze", g.op("Greater", best, g.number(lowest)), g.integers(-1))
        chosen = emit_gather(g, g.reshape(boxes, -1, total, 4), index)
        return Proposals(g.op("Where", found, chosen, g.number(0.0)), proposals)


def _saturated_ranks(g: GraphBuilder, logits: str) -> str:
    """Add nodes with the steps of ``model.proposals.saturated_ranks``."""
    return g.op("Neg", g.op("Add", g.op("Exp", g.op("Neg", logits)), g.number(1.0)))


def _valid(g: GraphBuilder, boxes: str, ranks: str, min_size: float, lowest: float) -> str:
    """Add nodes for bool [N, L, n]: both sides are above 0 and at least ``min_size``, and the rank above ``lowest``."""
    side = emit_shorter_side(g, boxes)
    valid = g.op("And", g.op("Greater", side, g.number(0.0)), g.op("Greater", ranks, g.number(lowest)))
    return g.op("And", valid, emit_at_least(g, side, min_size)) if min_size > 0 else valid
