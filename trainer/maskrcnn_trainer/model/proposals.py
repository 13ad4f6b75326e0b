"""Proposals of the region proposal network (Ren et al., arXiv:1506.01497, section 3.3), level by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from maskrcnn_trainer.model import nms
from maskrcnn_trainer.model.boxes import clip_to_image, decode_boxes
from maskrcnn_trainer.task.device import index_dtype


def propose(
    logits: tf.Tensor,
    deltas: tf.Tensor,
    anchors: Any,
    level_sizes: Mapping[int, int] | Sequence[int],
    image_size: tuple[int, int],
    *,
    pre_nms_topn: int,
    post_nms_topn: int,
    nms_threshold: float,
    min_size: float = 0.0,
    clip_small_deltas: bool = False,
    rank_by_sigmoid: bool = False,
    compiled: bool = False,
    nms_implementation: nms.Implementation = "auto",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the best boxes of each image, after non-maximum suppression within each level.

    The ``pre_nms_topn`` best anchors of each level by logit are decoded and clipped to the image. Boxes without area or
    with a side below ``min_size`` are dropped, suppression is applied to each level, and the boxes of all levels are
    sorted by logit, equal ones in the order of the anchors. There is no gradient.

    With ``rank_by_sigmoid`` float32 scores take the place of the logits, as in MMDetection 3.3
    (``models/dense_heads/rpn_head.py``). Near 1 they are 1.2e-7 apart, so different logits have equal scores, and
    from about 17 on all have a score of 1.

    Args:
        logits: [B, A] of static shape.
        deltas: [B, A, 4], dy dx dh dw.
        anchors: [A, 4], y1 x1 y2 x2 in pixels of the padded image, levels ascending.
        level_sizes: number of anchors of each level, from ``anchors_per_level``; their sum is A.
        image_size: (height, width) of the padded image in pixels.
        pre_nms_topn: largest number of anchors of a level that are decoded.
        post_nms_topn: proposals of each image.
        nms_threshold: a box whose IoU with a better one of its level is above this is dropped, 0..1.
        min_size: smallest height and width of a proposal, in pixels of the padded image.
        clip_small_deltas: see ``decode_boxes``.
        rank_by_sigmoid: whether boxes are ranked by their scores instead of their logits.
        compiled: whether the caller is traced for XLA.
        nms_implementation: see ``nms.greedy_nms``.

    Returns:
        Boxes float32 [B, post_nms_topn, 4] and scores float32 [B, post_nms_topn] in 0..1, best first; missing proposals
        are boxes of zeros with score 0.

    Raises:
        ValueError: the level sizes do not sum to A.
    """
    sizes = list(level_sizes.values()) if isinstance(level_sizes, Mapping) else list(level_sizes)
    batch, num_anchors = logits.shape[0], logits.shape[1]
    if sum(sizes) != num_anchors:
        raise ValueError(f"level sizes {sizes} sum to {sum(sizes)}, but there are {num_anchors} anchors")
    logits = tf.stop_gradient(tf.cast(logits, tf.float32))
    logits = tf.where(tf.math.is_nan(logits), -float("inf"), logits)
    ranks = saturated_ranks(logits) if rank_by_sigmoid else logits
    to_scores = _scores_of_saturated if rank_by_sigmoid else tf.sigmoid
    deltas = tf.stop_gradient(deltas)
    anchors = tf.convert_to_tensor(anchors, tf.float32)

    candidates, boxes = _best_of_levels(
        ranks, deltas, anchors, sizes, pre_nms_topn, clip_small_deltas=clip_small_deltas
    )
    boxes = clip_to_image(boxes, *image_size)
    side = tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1)
    # The sigmoid of a logit below about -100 is 0 in float32, which marks a missing proposal.
    valid = (side > 0.0) & (side >= min_size) & (to_scores(candidates) > 0.0)

    longest = candidates.shape[2]
    groups = batch * len(sizes)
    kept = nms.greedy_nms(
        tf.reshape(boxes, [groups, longest, 4]),
        tf.reshape(valid, [groups, longest]),
        nms_threshold,
        max_output=post_nms_topn,
        compiled=compiled,
        implementation=nms_implementation,
    )
    total = len(sizes) * longest
    remaining = tf.where(tf.reshape(kept, [batch, total]), tf.reshape(candidates, [batch, total]), -float("inf"))
    best, boxes = _best_of_image(remaining, tf.reshape(boxes, [batch, total, 4]), post_nms_topn)
    return _padded_proposals(to_scores(best), boxes, post_nms_topn)


def saturated_ranks(logits: tf.Tensor) -> tf.Tensor:
    """Return -(1 + exp(-logit)), float32, which has the order of the scores 1 / (1 + exp(-logit)) in these steps.

    PyTorch computes a score in them. The kernels of TensorFlow and ONNX Runtime for a sigmoid approximate it, each in
    its own way, and so make other scores equal. The reciprocal is left out, since that of TensorFlow isn't exact.
    """
    return -(1.0 + tf.exp(-logits))


def _scores_of_saturated(ranks: tf.Tensor) -> tf.Tensor:
    return tf.math.reciprocal(-ranks)


def _best_of_levels(
    ranks: tf.Tensor,
    deltas: tf.Tensor,
    anchors: tf.Tensor,
    sizes: Sequence[int],
    most: int,
    *,
    clip_small_deltas: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the ``most`` best anchors of each level, decoded.

    Returns:
        Ranks float32 [B, levels, n] and boxes [B, levels, n, 4], best first, with n the smaller of ``most`` and the
        size of the largest level; smaller levels are padded with ranks of -infinity.
    """
    longest = min(most, max(sizes))
    level_ranks, level_deltas, level_anchors = [], [], []
    first = 0
    for size in sizes:
        count = min(most, size)
        best, index = tf.math.top_k(ranks[:, first : first + size], k=count)
        index = tf.cast(index, index_dtype()) + first
        pad = longest - count
        level_ranks.append(tf.pad(best, [[0, 0], [0, pad]], constant_values=-float("inf")))
        level_deltas.append(tf.pad(tf.gather(deltas, index, batch_dims=1), [[0, 0], [0, pad], [0, 0]]))
        level_anchors.append(tf.pad(tf.gather(anchors, index), [[0, 0], [0, pad], [0, 0]]))
        first += size
    boxes = decode_boxes(tf.stack(level_deltas, axis=1), tf.stack(level_anchors, axis=1), clip_small=clip_small_deltas)
    return tf.stack(level_ranks, axis=1), boxes


def _best_of_image(ranks: tf.Tensor, boxes: tf.Tensor, most: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the ranks and boxes of the best, at most ``most``.

    Args:
        ranks: float32 [B, N]; -infinity for boxes that aren't proposals.
        boxes: [B, N, 4].
        most: largest number of boxes returned.
    """
    best, index = tf.math.top_k(ranks, k=min(most, ranks.shape[1]))
    return best, tf.gather(boxes, index, batch_dims=1)


def _padded_proposals(scores: tf.Tensor, boxes: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return boxes [B, n, 4] and scores [B, n], padded with zeros to ``count``; boxes of score 0 become zeros."""
    boxes = tf.where(scores[..., None] > 0.0, boxes, 0.0)
    missing = count - int(scores.shape[1])
    return tf.pad(boxes, [[0, 0], [0, missing], [0, 0]]), tf.pad(scores, [[0, 0], [0, missing]])
