"""Training step of one rank on synthetic data, for test_distributed_step.py, started by ``maskrcnn launch``.

Usage: rank_step.py OUTPUT
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import tensorflow as tf

from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.task.runtime import prepare_tensorflow
from maskrcnn_trainer.training.distributed import DistributedContext
from maskrcnn_trainer.training.roi_sampling import RoiSampling
from maskrcnn_trainer.training.schedule import Schedule
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import Average, TrainStep

IMAGE_SIZE = (64, 64)
INSTANCES, MASK = 3, 28
WAYS = ("by-rank", "synchronized")
ARCHITECTURE = Architecture(nlayers=10, num_classes=3, fast_rcnn_mlp_head_dim=16, anchor_scale=4)
SETTINGS = TrainSettings(
    schedule=Schedule(init_learning_rate=0.01),
    seed=5,
    pre_nms_topn=64,
    post_nms_topn=24,
    rpn_batch_size_per_im=32,
    sampling=RoiSampling(batch_size_per_im=16),
)


def training_step(average: Average | None, **options: Any) -> TrainStep:
    """Return a step of a small network; with frozen batch norms, forward passes of ranks are independent.

    Args:
        average: of the step.
        options: of the network.
    """
    network = MaskRCNN(ARCHITECTURE, **{"freeze_bn": True, "seed": 5, **options})
    return TrainStep(network, SETTINGS, generate_anchors(ARCHITECTURE, IMAGE_SIZE), IMAGE_SIZE, average=average)


def half_batch(rank: int, architecture: Architecture = ARCHITECTURE, side: int = 64) -> dict[str, tf.Tensor]:
    """Return the batch of one rank: one image with two objects."""
    generator = np.random.default_rng(rank)
    anchors = len(generate_anchors(architecture, (side, side)))
    boxes = np.full((1, INSTANCES, 4), -1.0, np.float32)
    boxes[0, :2] = [[4, 4, 40, 36], [20, 24, 60, 60]]
    boxes[0, :2] += generator.uniform(0, 3, (2, 4))
    boxes[0, :2] *= side / 64
    masks = np.zeros((1, INSTANCES, MASK + 4, MASK + 4), np.uint8)
    masks[0, :2, 6:-6, 6:-6] = 255
    return {
        "images": tf.constant(generator.normal(size=(1, side, side, 3)), tf.float32),
        "image_info": tf.constant([[side, side, 1, side, side]], tf.float32),
        "position": tf.constant([rank], tf.int64),
        "gt_boxes": tf.constant(boxes),
        "gt_classes": tf.constant([[1, 2, -1]], tf.int32),
        "cropped_gt_masks": tf.constant(masks),
        "rpn_labels": tf.constant(generator.integers(-1, 2, (1, anchors)), tf.int32),
        "rpn_box_targets": tf.constant(generator.normal(0, 0.1, (1, anchors, 4)), tf.float32),
    }


def variables_of(step: TrainStep) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in step.network.named_variables.items()}


def statistics_after_a_step(context: DistributedContext) -> dict[str, np.ndarray]:
    """Return all moving statistics after a step with batch norms that aren't frozen, one vector for each way."""
    found = {}
    for way, sync_moments in zip(WAYS, (None, context.sync_moments), strict=True):
        step = training_step(context.reduce_gradients, freeze_bn=False, sync_moments=sync_moments)
        step(half_batch(context.rank))
        found[way] = statistics_of(step)
    return found


def statistics_of(step: TrainStep) -> np.ndarray:
    return np.concatenate([value for name, value in variables_of(step).items() if "moving_" in name])


def main() -> None:
    context = DistributedContext.from_environ()
    prepare_tensorflow(threads=context.threads, local_rank=context.local_rank, rewrite_cpu_graphs=False)
    context.initialize()
    step = training_step(context.reduce_gradients)
    context.broadcast_variables(step.network.variables)
    measured = step(half_batch(context.rank), tf.constant([float(context.rank)]))
    everybody = context.gather(context.rank)
    collected = context.collect(np.full(2 * context.rank + 1, context.rank, np.uint8))
    statistics = context.gather(statistics_after_a_step(context))
    if context.rank == 0:
        loss, flags = measured["total_loss"], measured.flags
        sent = np.concatenate(collected or [])
        found = {"loss": loss, "flags": flags, "ranks": everybody, "sent": sent, **variables_of(step)}
        for way in WAYS:
            found[f"statistics-{way}"] = np.stack([of_rank[way] for of_rank in statistics])
        np.savez(sys.argv[1], **found)
    elif collected is not None:
        raise AssertionError(f"rank {context.rank} received {collected}")
    context.gather(None)
    os._exit(0)


if __name__ == "__main__":
    main()
