"""Our worker for train_step.py: it trains and infers batch by batch."""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from batches import CLASSES
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.model.predict import InferenceSettings, predict
from maskrcnn_trainer.training.schedule import Schedule
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import LOSSES, TrainStep
from worker import Clock, serve

DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class Ours:
    """Network, training step and inference for one image size and type."""

    def __init__(self, size: int, dtype: str, xla: bool) -> None:
        architecture = Architecture(num_classes=CLASSES)
        # Batch norms train, as in the peer: with random weights, stored statistics are meaningless.
        self.network = MaskRCNN(architecture, freeze_bn=False, dtype=DTYPES[dtype], seed=1)
        settings = TrainSettings(
            Schedule(init_learning_rate=0.01, warmup_learning_rate=0.001, warmup_steps=200), l2_weight_decay=1e-4
        )
        anchors = generate_anchors(architecture, (size, size))
        self.step = TrainStep(self.network, settings, anchors, (size, size), jit_compile=xla)
        self.predict = tf.function(
            lambda images: self._detections(images, compiled=xla), jit_compile=xla, autograph=False
        )
        self.batch: tuple[str, dict[str, tf.Tensor]] = ("", {})

    def _detections(self, images: tf.Tensor, compiled: bool) -> tuple[tf.Tensor, ...]:
        found = predict(self.network, images, InferenceSettings(), compiled=compiled)
        return found.boxes, found.classes, found.scores, tf.sigmoid(found.mask_logits)

    def load_batch(self, path: str) -> dict[str, tf.Tensor]:
        """Return a batch as tensors; keep the last one."""
        if self.batch[0] != path:
            with np.load(path) as file:
                self.batch = (path, {name: tf.constant(file[name]) for name in file.files})
        return self.batch[1]

    def train(self, batch: str) -> dict[str, float]:
        """Run one step; return its seconds, loss without decay, and foreground rows."""
        inputs = self.load_batch(batch)
        began = Clock()
        measured = self.step(inputs)
        measured.read()
        spent = began.spent()
        loss = sum(measured[name] for name in LOSSES)
        return {**spent, "loss": loss, "foreground": measured["foreground_rois"]}

    def infer(self, batch: str) -> dict[str, float]:
        """Detect in the first image; return the seconds and the number of detections."""
        images = self.load_batch(batch)["images"][:1]
        began = Clock()
        outputs = self.predict(images)
        outputs[3].numpy()
        spent = began.spent()
        return {**spent, "detections": int(np.count_nonzero(outputs[2].numpy()))}

    def save(self, path: str) -> bool:
        """Write the weights to ``path``.npz."""
        values = {name: variable.numpy() for name, variable in self.network.named_variables.items()}
        np.savez(f"{path}.npz", moving_average_updates=self.network.moving_average_updates.numpy(), **values)
        return True

    def load(self, path: str) -> bool:
        """Read the weights from ``path``.npz."""
        with np.load(f"{path}.npz") as file:
            for name, variable in self.network.named_variables.items():
                variable.assign(file[name])
            self.network.moving_average_updates.assign(file["moving_average_updates"])
        return True


def main() -> None:
    """Build the network and serve requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--dtype", choices=sorted(DTYPES), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--xla", action="store_true")
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)
    ours = Ours(arguments.size, arguments.dtype, arguments.xla)
    serve({"train": ours.train, "infer": ours.infer, "save": ours.save, "load": ours.load})


if __name__ == "__main__":
    main()
