"""The peer's worker for inference.py: TensorFlow Model Garden's Mask R-CNN, configured as in peer_train_step.py."""

from __future__ import annotations

import argparse

import numpy as np
import tensorflow as tf

from peer_train_step import Peer
from worker import Clock, serve


def main() -> None:
    """Build the model and serve requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, arguments.threads))
    peer = Peer(arguments.size, "float32", xla=False)
    images = np.load(arguments.images, mmap_mode="r")
    anchors = {level: tf.stack([value] * arguments.batch) for level, value in peer.anchor_boxes.items()}
    shape = tf.constant(np.full((arguments.batch, 2), arguments.size, np.float32))

    def infer(first: int) -> dict[str, float]:
        """Return the seconds for a batch of images from ``first`` on, from arrays to arrays."""
        taken = np.take(images, range(first, first + arguments.batch), axis=0, mode="wrap")
        began = Clock()
        outputs = peer.predict(tf.constant(taken), anchors, shape)
        for name in ("detection_boxes", "detection_classes", "detection_scores", "detection_masks"):
            outputs[name].numpy()
        return {**began.spent(), "detections": float(np.sum(outputs["num_detections"]))}

    serve({"infer": infer})


if __name__ == "__main__":
    main()
