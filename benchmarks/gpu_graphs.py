"""Graphs of a training step and of inference, traced on any machine as TensorFlow traces them where there is a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from maskrcnn_trainer.data.gpu_batches import SENT_TYPES
from maskrcnn_trainer.model.anchors import feature_size, generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings, predict
from maskrcnn_trainer.model.roi_align import roi_align
from maskrcnn_trainer.training.schedule import Schedule
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import TrainStep

CLASSES = 91
INSTANCES = 100
MASK_SIDE = 116
"""Cells of a cropped mask with its border, for ``gt_mask_size`` 112."""


@dataclass(frozen=True)
class Workload:
    """Sizes and number format of a graph: a ResNet-50 with 91 classes.

    Attributes:
        dtype: ``float32`` or ``mixed_float16``.
        image_size: (height, width) of the padded images in pixels.
        batch: images of a batch.
    """

    dtype: str = "float32"
    image_size: tuple[int, int] = (832, 1344)
    batch: int = 4

    def network(self) -> MaskRCNN:
        """Return a new network."""
        return MaskRCNN(Architecture(num_classes=CLASSES), dtype=self.dtype, seed=1)


@contextlib.contextmanager
def pretended_gpu() -> Iterator[None]:
    """Let the trainer's code choose its implementations for a GPU, although operations still run on the CPU."""
    listed = tf.config.list_logical_devices

    def with_gpu(device_type: str | None = None) -> list[Any]:
        gpu = tf.config.LogicalDevice("/device:GPU:0", "GPU")
        return [gpu] if device_type == "GPU" else list(listed(device_type))

    tf.config.list_logical_devices = with_gpu
    try:
        yield
    finally:
        tf.config.list_logical_devices = listed


@contextlib.contextmanager
def deterministic_operations() -> Iterator[None]:
    """Trace as in a training with ``deterministic: true``."""
    from tensorflow.python.framework import config  # TensorFlow has no public function to disable it

    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        config.disable_op_determinism()


def training_graph(workload: Workload, network: MaskRCNN) -> tf.Graph:
    """Return the graph of a whole training step for a GPU, traced without being run."""
    batch, (height, width) = workload.batch, workload.image_size
    anchors = generate_anchors(network.architecture, workload.image_size)
    schedule = Schedule(init_learning_rate=0.01, warmup_learning_rate=0.001, warmup_steps=200)
    step = TrainStep(network, TrainSettings(schedule, l2_weight_decay=1e-4), anchors, workload.image_size)
    batch_of = {
        "images": ([height, width, 3], tf.uint8),
        "image_info": ([5], tf.float32),
        "position": ([], tf.int64),
        "gt_boxes": ([INSTANCES, 4], tf.float32),
        "gt_classes": ([INSTANCES], SENT_TYPES["gt_classes"]),
        "cropped_gt_masks": ([INSTANCES, MASK_SIDE, MASK_SIDE], tf.uint8),
        "rpn_labels": ([len(anchors)], SENT_TYPES["rpn_labels"]),
        "rpn_box_targets": ([len(anchors), 4], tf.float32),
    }
    signature = {name: tf.TensorSpec([batch, *shape], dtype) for name, (shape, dtype) in batch_of.items()}
    flags = tf.TensorSpec([1], tf.float32)
    with pretended_gpu():
        return step._run.get_concrete_function(signature, flags).graph  # noqa: SLF001 - calling the step would run it


def inference_graph(workload: Workload, network: MaskRCNN) -> tf.Graph:
    """Return the graph of the detection of a batch for a GPU, traced without being run."""
    images = tf.TensorSpec([workload.batch, *workload.image_size, 3], tf.float32)
    detect = tf.function(lambda batch: predict(network, batch, InferenceSettings()), autograph=False)
    with pretended_gpu():
        return detect.get_concrete_function(images).graph


def pooling_graph(workload: Workload, *, sampling_ratio: int, rois: int = 512, bins: int = 7) -> tf.Graph:
    """Return the graph of pooling boxes and of its gradients for a GPU, traced without being run.

    Args:
        workload: sizes and number format.
        sampling_ratio: see `roi_align`.
        rois: boxes of an image.
        bins: along each side of a box.
    """
    dtype = "float16" if workload.dtype == "mixed_float16" else workload.dtype
    levels = Architecture().levels
    maps = {
        level: tf.TensorSpec([workload.batch, *feature_size(workload.image_size, level), 256], dtype)
        for level in levels
    }

    def pool(features: dict[int, tf.Tensor], boxes: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = roi_align(features, boxes, bins, levels[0], levels[-1], sampling_ratio=sampling_ratio)
        return [pooled, *tape.gradient(pooled, features).values()]

    with pretended_gpu():
        boxes = tf.TensorSpec([workload.batch, rois, 4], tf.float32)
        return tf.function(pool, autograph=False).get_concrete_function(maps, boxes).graph
