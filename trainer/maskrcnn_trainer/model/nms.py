"""Greedy non-maximum suppression with static shapes.

A box is dropped if its intersection over union with a better kept box is above the threshold (not equal). The boxes
are sorted, best first, and only their rank counts, so CPU, GPU, and XLA cannot order equal scores differently.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.model.boxes import area, iou
from maskrcnn_trainer.task.device import on_gpu

Implementation = Literal["auto", "kernel", "loop", "matrix"]

PAIRS_AT_ONCE = 2**24
"""Pairs of boxes that "matrix" compares at once: 64 MiB for each of the half-dozen float32 tensors of a comparison."""


def greedy_nms(
    boxes: tf.Tensor,
    valid: tf.Tensor,
    iou_threshold: float,
    *,
    max_output: int,
    classes: tf.Tensor | None = None,
    num_classes: int = 1,
    compiled: bool = False,
    implementation: Implementation = "auto",
) -> tf.Tensor:
    """Return the boxes kept by NMS, for several independent groups of boxes at once.

    Args:
        boxes: float32 [G, N, 4] of static shape, y1 x1 y2 x2, the best of each group first.
        valid: bool [G, N]; a box that isn't valid is dropped and does not suppress others.
        iou_threshold: a box whose IoU with a better one is above this is dropped, 0..1.
        max_output: at least the first ``max_output`` kept boxes of every group (with ``classes``: of each of its
            classes) are marked; later ones may or may not be marked.
        classes: int32 [G, N] in 0..num_classes - 1; boxes suppress only boxes of the same class. None for one class.
        num_classes: number of classes, with ``classes``.
        compiled: whether the caller is traced for XLA (``jit_compile=True``).
        implementation: "kernel" is TensorFlow's CombinedNonMaxSuppression, which runs on a CPU without XLA; "loop"
            iterates over the boxes, for all groups together; "matrix" compares all pairs of a group, for all groups at
            most ``PAIRS_AT_ONCE`` at once (but at least G * N), which bounds its memory, and repeats products with the
            result until it no longer changes. "auto" is "matrix" if there is a GPU, otherwise "loop" under XLA and
            "kernel" without it. All give the same result.

    Returns:
        bool [G, N], true for the boxes kept.
    """
    if implementation == "auto":
        on_cpu: Implementation = "loop" if compiled else "kernel"
        implementation = "matrix" if on_gpu() else on_cpu
    boxes = tf.cast(boxes, tf.float32)
    if boxes.shape.num_elements() == 0:
        return tf.convert_to_tensor(valid)
    if implementation == "kernel":
        return _kernel(boxes, valid, iou_threshold, max_output=max_output, classes=classes, num_classes=num_classes)
    return (_loop if implementation == "loop" else _matrix)(boxes, valid, iou_threshold, classes)


def _kernel(
    boxes: tf.Tensor,
    valid: tf.Tensor,
    iou_threshold: float,
    *,
    max_output: int,
    classes: tf.Tensor | None,
    num_classes: int,
) -> tf.Tensor:
    groups, count = boxes.shape[0], boxes.shape[1]
    # Small integers are exact in float32 and all different, so the kernel's rule for equal scores does not matter.
    rank_scores = tf.range(count, 0, -1, dtype=tf.float32)
    scores = tf.where(valid, rank_scores, -1.0)[..., None]
    if classes is not None:
        scores = tf.where(classes[..., None] == tf.range(num_classes), scores, -1.0)
    per_class = min(max_output, count)
    result = tf.raw_ops.CombinedNonMaxSuppression(
        boxes=boxes[:, :, None, :],
        scores=scores,
        max_output_size_per_class=per_class,
        max_total_size=min(count, per_class * (1 if classes is None else num_classes)),
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        pad_per_class=False,
        clip_boxes=False,
    )
    rank = count - tf.cast(result.nmsed_scores, tf.int32)
    # Missing boxes have score 0 and therefore rank ``count``, an additional column that is removed.
    group = tf.broadcast_to(tf.range(groups)[:, None], tf.shape(rank))
    marks = tf.scatter_nd(tf.stack([group, rank], axis=-1), tf.ones_like(rank), [groups, count + 1])
    return marks[:, :count] > 0


def _loop(boxes: tf.Tensor, valid: tf.Tensor, iou_threshold: float, classes: tf.Tensor | None) -> tf.Tensor:
    count = boxes.shape[1]
    y1, x1, y2, x2 = tf.unstack(boxes, num=4, axis=-1)
    areas = area(boxes)
    positions = tf.range(count)

    def suppress(index: tf.Tensor, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        box = boxes[:, index]
        height = tf.maximum(tf.minimum(y2, box[:, 2:3]) - tf.maximum(y1, box[:, 0:1]), 0.0)
        width = tf.maximum(tf.minimum(x2, box[:, 3:4]) - tf.maximum(x1, box[:, 1:2]), 0.0)
        intersection = height * width
        union = areas + areas[:, index, None] - intersection
        drop = (tf.math.divide_no_nan(intersection, union) > iou_threshold) & (positions > index)
        if classes is not None:
            drop &= classes == classes[:, index, None]
        return index + 1, kept & ~(drop & kept[:, index, None])

    return tf.while_loop(lambda index, _: index < count, suppress, (0, valid), maximum_iterations=count)[1]


def _matrix(boxes: tf.Tensor, valid: tf.Tensor, iou_threshold: float, classes: tf.Tensor | None) -> tf.Tensor:
    """Decide blocks of boxes, the best first; each block then drops the boxes of later ones that overlap its own.

    All arithmetic is in floating point, which is exact here: on a GPU TensorFlow computes int32 on the host.
    """
    groups, count = boxes.shape[0], boxes.shape[1]
    blocks = -(-count // max(1, PAIRS_AT_ONCE // (groups * count)))
    size = -(-count // blocks)
    missing = blocks * size - count
    boxes = tf.pad(boxes, [[0, 0], [0, missing], [0, 0]])
    if classes is not None:
        classes = tf.pad(tf.cast(classes, tf.float32), [[0, 0], [0, missing]])
    ranks = np.arange(blocks * size, dtype=np.float32)

    def decide(block: int | tf.Tensor, kept: tf.Tensor) -> tuple[int | tf.Tensor, tf.Tensor]:
        first = block * size
        own = tf.slice(boxes, [0, first, 0], [groups, size, 4])
        suppresses = (iou(boxes, own) > iou_threshold) & (ranks[:, None] > tf.cast(first, tf.float32) + ranks[:size])
        if classes is not None:
            suppresses &= classes[:, :, None] == tf.slice(classes, [0, first], [groups, size])[:, None, :]
        by = tf.cast(suppresses, tf.float16)
        candidates = tf.slice(kept, [0, first], [groups, size])
        own_kept = _kept_of_block(tf.slice(by, [0, first, 0], [groups, size, size]), candidates)
        return block + 1, kept & ~_suppressed(by, own_kept)

    kept = tf.pad(valid, [[0, 0], [0, missing]])
    if blocks == 1:
        return decide(0, kept)[1]
    # One block at a time, since comparisons of later ones don't depend on the result and would take memory early.
    decided = tf.while_loop(lambda block, _: block < blocks, decide, (0, kept), parallel_iterations=1)
    return decided[1][:, :count]


def _kept_of_block(by: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Repeat until nothing changes; k rounds decide all boxes whose chain of better overlapping boxes is at most k.

    The host reads a flag after every second round, which makes a GPU wait, so an iteration has two of them.

    Args:
        by: float16 [G, n, n], 1 where the box of the row is dropped if that of the column is kept.
        candidates: bool [G, n], boxes that are valid and not dropped by a box outside of the block.
    """

    def refine(kept: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        once = candidates & ~_suppressed(by, kept)
        twice = candidates & ~_suppressed(by, once)
        return twice, tf.reduce_any(twice != once)

    return tf.while_loop(lambda _, changed: changed, refine, (candidates, tf.constant(True)))[0]


def _suppressed(by: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Return the boxes, bool [G, N], that a kept one of bool [G, n] drops, with ``by`` float16 [G, N, n].

    Rounding and overflow in float16 don't matter: a sum that has a one stays at least one.
    """
    return tf.linalg.matvec(by, tf.cast(kept, tf.float16)) > 0.5
