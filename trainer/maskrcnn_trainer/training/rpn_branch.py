"""The two losses of the region proposal network, computed only at cells with targets."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.task.device import index_dtype
from maskrcnn_trainer.training import losses


def rpn_losses_at_targets(
    network: MaskRCNN,
    features: dict[int, tf.Tensor],
    labels: tf.Tensor,
    box_targets: tf.Tensor,
    level_sizes: Sequence[int],
    *,
    anchors_per_image: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return `losses.rpn_score_loss` and `losses.rpn_box_loss`, from cells with an anchor in one of them.

    Losses and gradients equal those of the whole maps. The number of cells is dynamic, so XLA cannot compile this. The
    cells depend only on labels and targets, so that on a GPU they are found before the features are computed.

    Args:
        network: its RPN head is applied to ``features``.
        features: maps [B, H, W, C] by level, static shapes.
        labels: int32 [B, A], 1 object, 0 background, -1 not sampled.
        box_targets: float32 [B, A, 4], 0 for anchors without a match.
        level_sizes: number of anchors on each level, levels ascending.
        anchors_per_image: as for `losses.rpn_score_loss`.

    Returns:
        Score loss and box loss, float32 scalars.
    """
    per_cell = network.architecture.num_anchors_per_cell
    labels = tf.cast(labels, index_dtype())
    cells, cell_labels, cell_targets = {}, [], []
    first = 0
    for level, size, level_targets in zip(
        sorted(features), level_sizes, tf.split(box_targets, list(level_sizes), axis=1), strict=True
    ):
        by_cell = tf.reshape(labels[:, first : first + size], [-1, per_cell])  # tf.split of int64 runs on the host
        first += size
        targets_by_cell = tf.reshape(level_targets, [-1, 4 * per_cell])
        counts = tf.reduce_any(by_cell >= 0, axis=1) | tf.reduce_any(targets_by_cell != 0.0, axis=1)
        cells[level] = tf.where(counts)[:, 0]
        cell_labels.append(tf.gather(by_cell, cells[level]))
        cell_targets.append(tf.gather(targets_by_cell, cells[level]))
    logits, deltas = network.rpn_at(features, cells)
    score = losses.rpn_score_loss(
        logits,
        tf.concat(cell_labels, axis=0),
        batch_size=int(labels.shape[0]),
        anchors_per_image=anchors_per_image,
    )
    sizes = tf.stack([tf.size(found) for found in cells.values()])
    by_level = zip(tf.split(deltas, sizes, num=len(cells)), cell_targets, strict=True)
    box = tf.add_n(
        [losses.rpn_box_loss_of_level(found, tf.reshape(targets, [-1, per_cell, 4])) for found, targets in by_level]
    )
    return score, box
