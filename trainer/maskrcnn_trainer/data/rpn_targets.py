"""Targets of the region proposal network: label (object, background, or ignored) and box of each anchor.

Faster R-CNN (Ren et al., arXiv:1506.01497, section 3.1.2). The functions accept a dynamic number of boxes (in the input
pipeline) or boxes padded to a static number (in a training step, also under XLA); boxes without area are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.data.randomness import Stream, uniform
from maskrcnn_trainer.model.boxes import encode_boxes
from maskrcnn_trainer.spec import MaskRCNNConfig

_NO_BOX = np.iinfo(np.int32).max


@dataclass(frozen=True)
class RpnTargetSettings:
    """Settings for matching and sampling anchors.

    Attributes:
        positive_overlap: an anchor with at least this intersection over union is an object, in [0, 1].
        negative_overlap: an anchor with less is background, in [0, positive_overlap].
        batch_size_per_im: anchors sampled for each image.
        fg_fraction: largest fraction of objects among them, in [0, 1].
    """

    positive_overlap: float
    negative_overlap: float
    batch_size_per_im: int
    fg_fraction: float

    @classmethod
    def from_config(cls, config: MaskRCNNConfig) -> RpnTargetSettings:
        """Create the settings from the ``rpn_*`` fields of a spec."""
        return cls(
            config.rpn_positive_overlap,
            config.rpn_negative_overlap,
            config.rpn_batch_size_per_im,
            config.rpn_fg_fraction,
        )

    @property
    def max_positives(self) -> int:
        """Largest number of objects sampled for each image."""
        return int(self.fg_fraction * self.batch_size_per_im)


class AnchorMatches(NamedTuple):
    """Label and box of each anchor before sampling.

    Attributes:
        labels: int32 [A], 1 object, 0 background, -1 ignored.
        boxes: int32 [A], index of the box that the anchor is matched with; meaningful where the label is 1.
    """

    labels: tf.Tensor
    boxes: tf.Tensor


def match_anchors(anchors: tf.Tensor, boxes: tf.Tensor, settings: RpnTargetSettings, chunk: int = 1) -> AnchorMatches:
    """Match anchors with boxes by intersection over union.

    An anchor is matched with the box that it overlaps most (the first of equals). It is an object if the overlap is at
    least ``positive_overlap``, and background if it is below ``negative_overlap``. In addition, the best anchor of
    every box (the first of equals) becomes an object of that box; if boxes share their best anchor, the first box gets
    it. Without boxes all anchors are background.

    Args:
        anchors: float32 [A, 4], y1 x1 y2 x2 in pixels, with area.
        boxes: float32 [n, 4], y1 x1 y2 x2 in pixels; n may be dynamic, boxes without area (padding) are ignored.
        settings: the two overlaps are read.
        chunk: boxes compared at once; memory is A x chunk, not A x n. One box is fastest on a CPU, where the comparison
            then fits in the cache and all operands except the anchors are scalars. A GPU needs more to be busy.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    num_anchors = tf.shape(anchors)[0]
    num_boxes = tf.shape(boxes)[0] if boxes.shape[0] is None else int(boxes.shape[0])
    num_chunks = -(-num_boxes // chunk)
    if chunk > 1:
        boxes = tf.pad(boxes, [[0, num_chunks * chunk - num_boxes], [0, 0]])
    boxes = tf.reshape(boxes, [num_chunks, chunk, 4])
    a_y1, a_x1, a_y2, a_x2 = tf.unstack(tf.transpose(anchors)[:, None, :], num=4)
    a_area = (a_y2 - a_y1) * (a_x2 - a_x1)

    def compare(
        number: tf.Tensor, best: tf.Tensor, nearest: tf.Tensor, champions: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        y1, x1, y2, x2 = tf.unstack(tf.transpose(boxes[number])[:, :, None], num=4)
        height = tf.maximum(tf.minimum(a_y2, y2) - tf.maximum(a_y1, y1), 0.0)
        width = tf.maximum(tf.minimum(a_x2, x2) - tf.maximum(a_x1, x1), 0.0)
        intersection = height * width
        area = tf.maximum(y2 - y1, 0.0) * tf.maximum(x2 - x1, 0.0)
        # The denominator is positive, because anchors have an area.
        overlap = intersection / (a_area + area - intersection)
        if chunk == 1:
            chunk_best, chunk_nearest = overlap[0], number
        else:
            chunk_best = tf.reduce_max(overlap, axis=0)
            chunk_nearest = number * chunk + tf.argmax(overlap, axis=0, output_type=tf.int32)
        champion = tf.argmax(overlap, axis=1, output_type=tf.int32)
        touches = tf.reduce_max(overlap, axis=1) > 0.0
        champions = champions.write(number, tf.where(touches, champion, num_anchors))
        closer = chunk_best > best
        return number + 1, tf.maximum(best, chunk_best), tf.where(closer, chunk_nearest, nearest), champions

    _, best, nearest, champions = tf.while_loop(
        lambda number, *_: number < num_chunks,
        compare,
        (
            tf.constant(0, tf.int32),
            tf.zeros([num_anchors], tf.float32),
            tf.zeros([num_anchors], tf.int32),
            tf.TensorArray(tf.int32, size=num_chunks, element_shape=[chunk]),
        ),
        # One chunk at a time limits the memory; parallelism comes from the images.
        parallel_iterations=1,
    )
    champion_of = tf.reshape(champions.stack(), [num_chunks * chunk])
    forced = tf.math.unsorted_segment_min(tf.range(num_chunks * chunk), champion_of, num_anchors + 1)[:-1]
    is_forced = forced < _NO_BOX

    # An anchor that overlaps no box is background, even if negative_overlap is 0.
    touched = best > 0.0
    labels = tf.where(touched & (best >= settings.negative_overlap), -1, 0)
    labels = tf.where(is_forced | (touched & (best >= settings.positive_overlap)), 1, labels)
    return AnchorMatches(labels, tf.where(is_forced, forced, nearest))


def sample_anchors(labels: tf.Tensor, position: tf.Tensor, seed: int, settings: RpnTargetSettings) -> tf.Tensor:
    """Sample the anchors for the score loss.

    At most int(fg_fraction * batch_size_per_im) objects are drawn, then background up to batch_size_per_im, or fewer if
    there are not enough. All subsets of that size are equally likely. The draw is a function of seed and position.

    Args:
        labels: int32 [A], static A, from ``match_anchors``.
        position: int64 scalar, the image's global position.
        seed: the experiment's seed, 0 .. 2^32 - 1.
        settings: batch_size_per_im and fg_fraction are read.

    Returns:
        int32 [A], the labels with -1 for anchors that were not drawn.
    """
    num_anchors = int(labels.shape[0])
    keys = uniform(seed, position, Stream.ANCHORS, [num_anchors])
    positive, negative = labels == 1, labels == 0
    sampled = tf.fill([num_anchors], -1)

    num_positives = tf.minimum(settings.max_positives, tf.reduce_sum(tf.cast(positive, tf.int32)))
    for drawn, most, count, value in (
        (positive, settings.max_positives, num_positives, 1),
        (negative, settings.batch_size_per_im, settings.batch_size_per_im - num_positives, 0),
    ):
        # Choosing by top_k's indices, not by a threshold, keeps the number exact if keys are equal.
        ranked = tf.math.top_k(tf.where(drawn, keys, -1.0), min(most, num_anchors), sorted=True)
        chosen = (tf.range(tf.size(ranked.indices)) < count) & (ranked.values >= 0.0)
        sampled = tf.tensor_scatter_nd_max(sampled, ranked.indices[:, None], tf.where(chosen, value, -1))
    return sampled


def rpn_targets(
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    position: tf.Tensor,
    seed: int,
    settings: RpnTargetSettings,
    *,
    chunk: int = 1,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the RPN targets of one image.

    Args:
        anchors: float32 [A, 4], y1 x1 y2 x2 in pixels, static A.
        boxes: float32 [n, 4], y1 x1 y2 x2 in pixels, n static or dynamic; boxes without area are ignored.
        position: int64 scalar, the image's global position.
        seed: the experiment's seed.
        settings: for matching and sampling anchors.
        chunk: as for ``match_anchors``.

    Returns:
        labels int32 [A]: 1 object, 0 background, -1 not drawn; box targets float32 [A, 4]: dy dx dh dw for all
        anchors that match a box, drawn or not, zero for the others.
    """
    anchors = tf.convert_to_tensor(anchors, tf.float32)
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    num_anchors = int(anchors.shape[0])
    matches = match_anchors(anchors, boxes, settings, chunk)
    matched_labels = tf.ensure_shape(matches.labels, [num_anchors])
    # One more box, so that the gather is valid for an image without boxes.
    candidates = tf.concat([boxes, tf.ones([1, 4]) * [[0.0, 0.0, 1.0, 1.0]]], axis=0)
    if boxes.shape[0] is None:
        # Few anchors match, and logarithms of all of them would cost more than finding those few.
        matched = tf.where(matched_labels == 1)
        indices = matched[:, 0]
        targets = encode_boxes(tf.gather(candidates, tf.gather(matches.boxes, indices)), tf.gather(anchors, indices))
        box_targets = tf.scatter_nd(matched, targets, tf.constant([num_anchors, 4], tf.int64))
    else:
        targets = encode_boxes(tf.gather(candidates, matches.boxes), anchors)
        box_targets = tf.where(matched_labels[:, None] == 1, targets, 0.0)
    return sample_anchors(matched_labels, position, seed, settings), box_targets
