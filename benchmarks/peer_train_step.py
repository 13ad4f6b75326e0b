"""The peer's worker for train_step.py: TensorFlow Model Garden's Mask R-CNN, run in its own environment.

It is configured like ours: ResNet-50, pyramid levels 2 to 6, a box head of two fully connected layers without
convolutions, 2,000 anchors per level before suppression and 1,000 proposals, 512 regions, 128 mask rows, 28x28 masks,
100 detections, trained fused batch norm, L2 of 1e-4, momentum 0.9.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.vision.configs import decoders
from official.vision.configs import maskrcnn as configs
from official.vision.ops import anchor
from official.vision.tasks.maskrcnn import MaskRCNNTask

from worker import Clock, serve

CLASSES = 91
LEVELS = {"min_level": 2, "max_level": 6}
ANCHORS = {"num_scales": 1, "aspect_ratios": [0.5, 1.0, 2.0], "anchor_size": 8.0}


class CountingTask(MaskRCNNTask):
    """Task that counts the foreground mask rows of a step."""

    def build_losses(self, outputs: Any, labels: Any, aux_losses: Any = None) -> dict[str, Any]:
        """Return the losses and the number of foreground rows."""
        rows = tf.reduce_sum(tf.cast(outputs["mask_class_targets"] > 0, tf.int32))
        losses = super().build_losses(outputs, labels, aux_losses)
        return {**losses, "foreground": tf.cast(rows, tf.float32)}

    def build_metrics(self, training: bool = True) -> list[Any]:
        """Return the metrics, including the number of foreground rows."""
        return [*super().build_metrics(training), tf_keras.metrics.Mean("foreground", dtype=tf.float32)]


class Peer:
    """Model, optimizer and compiled functions for one image size and type."""

    def __init__(self, size: int, dtype: str, xla: bool) -> None:
        tf_keras.mixed_precision.set_global_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
        self.size = size
        self.dtype = dtype
        model = configs.MaskRCNN(
            num_classes=CLASSES,
            input_size=[size, size, 3],
            anchor=configs.Anchor(**ANCHORS),
            decoder=decoders.Decoder(type="fpn", fpn=decoders.FPN()),
            detection_head=configs.DetectionHead(num_convs=0, num_fcs=2),
            **LEVELS,
        )
        model.norm_activation.use_sync_bn = False
        model.detection_generator.pre_nms_score_threshold = 0.0
        self.task = CountingTask(configs.MaskRCNNTask(model=model, losses=configs.Losses(l2_weight_decay=1e-4)))
        self.model = self.task.build_model()
        rate = tf_keras.optimizers.schedules.PolynomialDecay(0.001, 200, 0.01)
        self.optimizer = tf_keras.optimizers.legacy.SGD(rate, momentum=0.9)
        self.metrics = self.task.build_metrics(training=True)
        self.anchor_boxes = anchor.build_anchor_generator(**LEVELS, **ANCHORS)(image_size=(size, size))
        self.labeler = anchor.RpnAnchorLabeler(0.7, 0.3, 256, 0.5)
        self.train_step = tf.function(
            lambda images, labels: self.task.train_step((images, labels), self.model, self.optimizer, self.metrics),
            jit_compile=xla,
        )
        self.predict = tf.function(
            lambda images, anchors, shape: self.model(images, anchor_boxes=anchors, image_shape=shape, training=False)
        )
        self.batches: dict[str, tuple[Any, ...]] = {}

    def load_batch(self, path: str) -> tuple[Any, ...]:
        """Return images and labels, with RPN targets by the peer's own code; not part of the timed work."""
        if path not in self.batches:
            with np.load(path) as file:
                data = {name: file[name] for name in file.files}
            scores, boxes = [], []
            for gt_boxes, classes in zip(data["gt_boxes"], data["gt_classes"], strict=True):
                found = classes > 0
                score, box = self.labeler.label_anchors(
                    self.anchor_boxes,
                    tf.constant(gt_boxes[found].reshape(-1, 4)),
                    tf.constant(classes[found].reshape(-1, 1), tf.float32),
                )
                scores.append(score)
                boxes.append(box)
            images = len(data["gt_boxes"])
            shape = np.tile(np.array([[self.size] * 2], np.float32), (4, 1))
            labels = {
                "image_info": tf.constant(np.tile(shape, (images, 1, 1))),
                "anchor_boxes": {level: tf.stack([value] * images) for level, value in self.anchor_boxes.items()},
                "rpn_score_targets": {level: tf.stack([one[level] for one in scores]) for level in scores[0]},
                "rpn_box_targets": {level: tf.stack([one[level] for one in boxes]) for level in boxes[0]},
                "gt_boxes": tf.constant(data["gt_boxes"]),
                "gt_classes": tf.constant(data["gt_classes"]),
                "gt_masks": tf.constant(data["cropped_gt_masks"][:, :, 2:-2, 2:-2].astype(np.float32) / 255.0),
            }
            images_tensor = tf.cast(data["images"], tf.bfloat16 if self.dtype == "bfloat16" else tf.float32)
            self.batches = {path: (images_tensor, labels)}
        return self.batches[path]

    def train(self, batch: str) -> dict[str, float]:
        """Run one step; return its seconds, loss without decay, and foreground rows."""
        images, labels = self.load_batch(batch)
        for metric in self.metrics:
            metric.reset_state()
        began = Clock()
        logs = self.train_step(images, labels)
        float(next(iter(logs.values())))
        spent = began.spent()
        values = {metric.name: float(metric.result()) for metric in self.metrics}
        return {**spent, "loss": values["model_loss"], "foreground": values["foreground"]}

    def infer(self, batch: str) -> dict[str, float]:
        """Detect in the first image; return the seconds and the number of detections."""
        images, labels = self.load_batch(batch)
        anchors = {level: value[:1] for level, value in labels["anchor_boxes"].items()}
        began = Clock()
        outputs = self.predict(images[:1], anchors, labels["image_info"][:1, 1])
        outputs["detection_masks"].numpy()
        return {**began.spent(), "detections": int(outputs["num_detections"][0])}

    def save(self, path: str) -> bool:
        """Write the weights to the checkpoint ``path``."""
        tf.train.Checkpoint(model=self.model).write(path)
        return True

    def load(self, path: str) -> bool:
        """Read the weights from the checkpoint ``path``."""
        tf.train.Checkpoint(model=self.model).read(path).assert_existing_objects_matched()
        return True


def main() -> None:
    """Build the model and serve requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--xla", action="store_true")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    peer = Peer(arguments.size, arguments.dtype, arguments.xla)
    serve({"train": peer.train, "infer": peer.infer, "save": peer.save, "load": peer.load})


if __name__ == "__main__":
    main()
