"""Sampling of the RoIs on which the heads train: a fixed number for each image, foreground first.

Fast R-CNN (Girshick, arXiv:1504.08083, section 2.3). The draw is a function of the seed and the image's global
position, so it depends neither on the rank that reads the image nor on earlier draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from maskrcnn_trainer.data.randomness import Stream, uniform
from maskrcnn_trainer.model.boxes import area, encode_boxes, iou
from maskrcnn_trainer.task.device import index_dtype


@dataclass(frozen=True)
class RoiSampling:
    """Numbers and thresholds of the sampling.

    Attributes:
        batch_size_per_im: S, number of RoIs sampled for each image.
        fg_fraction: at most ``int(S * fg_fraction)`` of them are foreground, 0..1.
        fg_thresh: an RoI is foreground if its best IoU is greater than this, 0..1.
        bg_thresh_hi: an RoI is background if ``bg_thresh_lo <= IoU < bg_thresh_hi``, 0..1.
        bg_thresh_lo: see ``bg_thresh_hi``.
        bbox_reg_weights: factors of dy, dx, dh, dw.
    """

    batch_size_per_im: int = 512
    fg_fraction: float = 0.25
    fg_thresh: float = 0.5
    bg_thresh_hi: float = 0.5
    bg_thresh_lo: float = 0.0
    bbox_reg_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)

    @property
    def foreground_limit(self) -> int:
        """Largest number of foreground RoIs of an image."""
        return int(self.batch_size_per_im * self.fg_fraction)


class SampledRois(NamedTuple):
    """S sampled RoIs of each image, foreground first.

    Attributes:
        boxes: float32 [B, S, 4], y1 x1 y2 x2 in pixels of the padded image.
        classes: ``index_dtype()`` [B, S], model ids >= 1 for foreground, 0 for background, -1 for RoIs without a loss.
        box_targets: float32 [B, S, 4], dy dx dh dw times their weights, 0 for RoIs that aren't foreground.
        gt_index: ``index_dtype()`` [B, S], the instance with the best IoU; meaningful for foreground RoIs.
    """

    boxes: tf.Tensor
    classes: tf.Tensor
    box_targets: tf.Tensor
    gt_index: tf.Tensor


def sample_rois(
    proposals: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_classes: tf.Tensor,
    position: tf.Tensor,
    *,
    seed: int,
    settings: RoiSampling,
) -> SampledRois:
    """Sample exactly ``settings.batch_size_per_im`` RoIs of each image from the proposals and the ground-truth boxes.

    If an image has too few candidates, RoIs of class -1 are added, which no loss counts: surplus foreground, RoIs
    between the thresholds, and padding. If they were labeled as background, the network would learn that boxes which
    match an object well are background.

    Args:
        proposals: float32 [B, P, 4], y1 x1 y2 x2 in pixels of the padded image; boxes without area are padding.
        gt_boxes: float32 [B, N, 4], y1 x1 y2 x2 in pixels of the padded image, padded with -1.
        gt_classes: int32 [B, N], model ids >= 1, padded with -1.
        position: int64 [B], the images' global positions.
        seed: the experiment's seed, 0 .. 2^32 - 1.
        settings: numbers and thresholds.
    """
    integer = index_dtype()
    gt_boxes, gt_classes = tf.cast(gt_boxes, tf.float32), tf.cast(gt_classes, integer)
    is_instance = gt_classes > 0
    candidates = tf.stop_gradient(tf.concat([gt_boxes, tf.cast(proposals, tf.float32)], axis=1))
    candidate_count = candidates.shape[1]
    size = settings.batch_size_per_im

    overlap = tf.where(is_instance[:, None, :], iou(candidates, gt_boxes), -1.0)
    best = tf.argmax(overlap, axis=-1, output_type=integer)
    best_overlap = tf.maximum(tf.reduce_max(overlap, axis=-1), 0.0)

    is_box = area(candidates) > 0.0
    is_foreground = is_box & (best_overlap > settings.fg_thresh)
    is_background = (
        is_box & ~is_foreground & (best_overlap >= settings.bg_thresh_lo) & (best_overlap < settings.bg_thresh_hi)
    )
    foreground_found = tf.reduce_sum(tf.cast(is_foreground, integer), axis=1, keepdims=True)
    background_found = tf.reduce_sum(tf.cast(is_background, integer), axis=1, keepdims=True)

    # One sort orders foreground, background, and the rest one after the other, each in random order.
    key = uniform(seed, position, Stream.ROIS, [candidate_count])
    tier = 2.0 * tf.cast(is_foreground, tf.float32) + tf.cast(is_background, tf.float32)
    order = tf.argsort(tier + 0.5 * key, axis=1, direction="DESCENDING", stable=True)

    slot = tf.range(size, dtype=integer)[None, :]
    foreground = tf.minimum(foreground_found, settings.foreground_limit)
    background = tf.minimum(background_found, size - foreground)
    surplus = foreground_found - foreground
    filler = slot - foreground - background
    index = tf.where(
        slot < foreground,
        slot,
        tf.where(
            slot < foreground + background,
            slot + surplus,
            tf.where(filler < surplus, foreground + filler, foreground_found + background_found + filler - surplus),
        ),
    )
    chosen = tf.gather(order, tf.minimum(index, candidate_count - 1), axis=1, batch_dims=1)

    boxes = tf.gather(candidates, chosen, axis=1, batch_dims=1)
    gt_index = tf.gather(best, chosen, axis=1, batch_dims=1)
    takes_class = slot < foreground
    classes = tf.where(
        takes_class,
        tf.gather(gt_classes, gt_index, axis=1, batch_dims=1),
        tf.where(slot < foreground + background, tf.constant(0, integer), -1),
    )
    targets = encode_boxes(tf.gather(gt_boxes, gt_index, axis=1, batch_dims=1), boxes, settings.bbox_reg_weights)
    return SampledRois(
        boxes=boxes,
        classes=classes,
        box_targets=tf.stop_gradient(tf.where(takes_class[..., None], targets, 0.0)),
        gt_index=gt_index,
    )
