"""Final detections of the box head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from maskrcnn_trainer.model import nms
from maskrcnn_trainer.model.architecture import CANDIDATE_LIMIT
from maskrcnn_trainer.model.boxes import area, clip_to_image, decode_boxes
from maskrcnn_trainer.task.device import index_dtype


def most_candidates(boxes: int, classes: int, limit: int | None, score_threshold: float) -> int:
    """Return the largest number of (box, class) pairs of an image that enter non-maximum suppression.

    The scores of a box sum to 1, so at most 1 / ``score_threshold`` of its classes exceed the threshold. With 0.05 and
    80 classes this is a quarter of all pairs: for 1,000 boxes, XLA on a CPU takes 0.17 s instead of 4.05 s.

    Args:
        boxes: proposals of an image.
        classes: without the background.
        limit: of pairs; None for all.
        score_threshold: 0..1.
    """
    exceeding = math.floor(1 / score_threshold) if score_threshold > 0 else classes
    pairs = boxes * min(classes, exceeding)
    return pairs if limit is None else min(limit, pairs)


def detect(  # noqa: PLR0917 - tensors first, then settings, as for the other parts of the network
    class_logits: tf.Tensor,
    box_deltas: tf.Tensor,
    proposals: tf.Tensor,
    proposal_scores: tf.Tensor,
    image_size: tuple[int, int],
    bbox_reg_weights: Sequence[float],
    detections_per_image: int,
    nms_threshold: float,
    *,
    score_threshold: float = 0.0,
    candidate_limit: int | None = CANDIDATE_LIMIT,
    least_side: float = 0.0,
    clip_small_deltas: bool = False,
    compiled: bool = False,
    nms_implementation: nms.Implementation = "auto",
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the best boxes with their classes, after non-maximum suppression within each class.

    The ``candidate_limit`` best (box, class) pairs of an image by softmax score, without the background, are decoded
    and clipped to the padded image, and suppression is applied to each class. Pairs with equal scores are ordered by
    proposal and then by class.

    Args:
        class_logits: [B, R, K] of static shape; class 0 is the background.
        box_deltas: [B, R, K, 4], dy dx dh dw of each class times ``bbox_reg_weights``.
        proposals: [B, R, 4], y1 x1 y2 x2 in pixels of the padded image.
        proposal_scores: [B, R]; a proposal with score 0 or without area is padding and is ignored.
        image_size: height and width of the padded image in pixels.
        bbox_reg_weights: weights of dy, dx, dh, dw.
        detections_per_image: D, number of detections returned for each image.
        nms_threshold: a box whose IoU with a better one of its class is above this is dropped, 0..1.
        score_threshold: a pair with a score of at most this is dropped, 0..1.
        candidate_limit: largest number of pairs of an image that enter suppression; None for all, as in torchvision,
            Detectron2, and MMDetection, whose threshold is 0.05.
        least_side: a box with a smaller height or width is dropped, in pixels of the padded image; one without area
            always is.
        clip_small_deltas: see ``decode_boxes``.
        compiled: whether the caller is traced for XLA.
        nms_implementation: see ``nms.greedy_nms``.

    Returns:
        boxes float32 [B, D, 4], y1 x1 y2 x2 in pixels of the padded image; classes int32 [B, D], model ids >= 1; scores
        float32 [B, D], 0..1. The best come first; missing detections have score 0, class 0, and a box of zeros.
    """
    batch, rois, num_classes = class_logits.shape[0], class_logits.shape[1], class_logits.shape[2]
    foreground = num_classes - 1
    proposals = tf.cast(proposals, tf.float32)
    scores = tf.nn.softmax(tf.cast(class_logits, tf.float32), axis=-1)[..., 1:]
    real = (proposal_scores > 0.0) & (area(proposals) > 0.0)
    scores = tf.where(real[..., None] & ~tf.math.is_nan(scores), scores, -1.0)

    candidates = most_candidates(rois, foreground, candidate_limit, score_threshold)
    scores, pair = tf.math.top_k(tf.reshape(scores, [batch, rois * foreground]), k=candidates)
    pair = tf.cast(pair, index_dtype())
    roi = pair // foreground
    class_index = pair % foreground
    deltas = tf.gather(
        tf.reshape(box_deltas, [batch, rois * num_classes, 4]), roi * num_classes + class_index + 1, batch_dims=1
    )
    boxes = decode_boxes(
        deltas, tf.gather(proposals, roi, batch_dims=1), bbox_reg_weights, clip_small=clip_small_deltas
    )
    boxes = clip_to_image(boxes, *image_size)
    valid = (scores > score_threshold) & (area(boxes) > 0.0)
    if least_side > 0.0:
        valid &= tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1) >= least_side

    kept = nms.greedy_nms(
        boxes,
        valid,
        nms_threshold,
        max_output=detections_per_image,
        classes=tf.cast(class_index, tf.int32),
        num_classes=foreground,
        compiled=compiled,
        implementation=nms_implementation,
    )
    count = min(detections_per_image, candidates)
    rank = tf.range(candidates, 0, -1, dtype=tf.float32)
    best, index = tf.math.top_k(tf.where(kept, rank, 0.0), k=count)
    found = best > 0.0
    missing = detections_per_image - count
    boxes = tf.where(found[..., None], tf.gather(boxes, index, batch_dims=1), 0.0)
    classes = tf.where(found, tf.gather(class_index, index, batch_dims=1) + 1, 0)
    scores = tf.where(found, tf.gather(scores, index, batch_dims=1), 0.0)
    return (
        tf.pad(boxes, [[0, 0], [0, missing], [0, 0]]),
        tf.cast(tf.concat([classes, tf.zeros([batch, missing], classes.dtype)], axis=1), tf.int32),
        tf.pad(scores, [[0, 0], [0, missing]]),
    )
