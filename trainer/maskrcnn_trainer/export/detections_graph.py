"""Final detections as ONNX nodes, equivalent to ``model.detections.detect``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maskrcnn_trainer.export.boxes_graph import (
    emit_area,
    emit_at_least,
    emit_center_and_size,
    emit_decode,
    emit_gather,
    emit_kept,
    emit_shorter_side,
)
from maskrcnn_trainer.export.emitter import GraphBuilder
from maskrcnn_trainer.export.proposals_graph import Proposals
from maskrcnn_trainer.model.predict import InferenceSettings


class DetectionsInGraph(NamedTuple):
    """Detections in the graph, D per image, best first; missing ones are all zeros."""

    detections: str
    """float32 [N, D, 6]: y1, x1, y2, x2 in pixels of the padded image, class (model id), score."""
    boxes: str
    """float32 [N, D, 4], the boxes only."""


def emit_detections(
    g: GraphBuilder,
    class_logits: str,
    box_deltas: str,
    proposals: Proposals,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    bbox_reg_weights: Sequence[float],
    settings: InferenceSettings,
    name: str,
    least_side: float = 0.0,
    clip_small_deltas: bool = False,
) -> DetectionsInGraph:
    """Add nodes for the best (box, class) pairs after suppression within each class.

    Args:
        g: the graph.
        class_logits: [N * R, K], class 0 is the background.
        box_deltas: [N * R, K, 4], dy dx dh dw of each class times ``bbox_reg_weights``.
        proposals: boxes [N, R, 4].
        num_classes: K, with the background.
        image_size: (height, width) of the padded image in pixels.
        bbox_reg_weights: divisors of the four offsets.
        settings: settings for inference.
        name: name of the tensor ``detections``.
        least_side: smallest height and width of a detection, in pixels of the padded image.
        clip_small_deltas: see ``model.boxes.decode_boxes``.
    """
    rois, foreground = proposals.per_image, num_classes - 1
    candidates = settings.candidates(rois, foreground)
    with g.scope("detections"):
        every = g.reshape(g.op("Softmax", class_logits, axis=-1), -1, rois, num_classes)
        scores = g.op("Slice", every, g.integers(1), g.integers(num_classes), g.integers(2))
        real = g.op("Greater", emit_area(g, proposals.boxes), g.number(0.0))
        scores = g.op("Where", real, scores, g.number(-1.0))
        best, pair = g.ops("TopK", g.reshape(scores, -1, rois * foreground), g.integers(candidates), outputs=2, axis=1)
        roi = g.op("Div", pair, g.constant(np.asarray(foreground, np.int64)))
        class_index = g.op("Sub", pair, g.op("Mul", roi, g.constant(np.asarray(foreground, np.int64))))
        # roi * K + class + 1, as K counts the background and a pair doesn't
        index = g.op("Add", g.op("Add", pair, roi), g.constant(np.asarray(1, np.int64)))
        deltas = emit_gather(g, g.reshape(box_deltas, -1, rois * num_classes, 4), index)
        moved = emit_center_and_size(g, emit_gather(g, proposals.boxes, roi))
        boxes = emit_decode(g, deltas, moved, image_size, bbox_reg_weights, clip_small=clip_small_deltas)

        has_area = g.op("Squeeze", g.op("Greater", emit_area(g, boxes), g.number(0.0)), g.integers(-1))
        valid = g.op("And", g.op("Greater", best, g.number(settings.score_threshold)), has_area)
        if least_side > 0:
            valid = g.op("And", valid, emit_at_least(g, emit_shorter_side(g, boxes), least_side))
        ranks = g.op("Where", valid, g.constant(np.arange(candidates, 0, -1, dtype=np.float32)), g.number(-1.0))
        own = g.op(
            "Equal",
            g.op("Unsqueeze", class_index, g.integers(1)),
            g.constant(np.arange(foreground, dtype=np.int64)[:, None]),
        )
        selected = g.op(
            "NonMaxSuppression",
            boxes,
            g.op("Where", own, g.op("Unsqueeze", ranks, g.integers(1)), g.number(-1.0)),
            g.integers(settings.detections_per_image),
            g.constant(np.asarray([settings.nms_threshold], np.float32)),
            g.constant(np.zeros(1, np.float32)),
        )
        kept = emit_kept(g, selected, ranks, g.number(0.0))
        requested = settings.detections_per_image
        count = min(requested, candidates)
        rank, index = g.ops("TopK", kept, g.integers(count), outputs=2, axis=1)
        classes = g.op(
            "Cast", g.op("Add", emit_gather(g, class_index, index), g.constant(np.asarray(1, np.int64))), to=1
        )
        columns = g.op(
            "Concat",
            emit_gather(g, boxes, index),
            g.op("Unsqueeze", classes, g.integers(-1)),
            g.op("Unsqueeze", emit_gather(g, best, index), g.integers(-1)),
            axis=-1,
        )
        found = g.op("Unsqueeze", g.op("Greater", rank, g.number(0.0)), g.integers(-1))
        if count < requested:
            columns = g.op("Where", found, columns, g.number(0.0))
            detections = g.op("Pad", columns, g.integers(0, 0, 0, 0, requested - count, 0), name=name)
        else:
            detections = g.op("Where", found, columns, g.number(0.0), name=name)
        only_boxes, _ = g.ops("Split", detections, g.integers(4, 2), outputs=2, axis=-1)
        return DetectionsInGraph(detections, only_boxes)
