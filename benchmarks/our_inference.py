"""Our worker for inference.py: it detects with one model file of any kind."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector import Detector, open_detector
from maskrcnn_trainer.spec import load_spec
from worker import Clock, serve


def bfloat16_detector(model: Path, spec_file: str, batch: int, threads: int) -> Detector:
    """Return a ``.tlt`` model whose layers compute in bfloat16, even if the processor has no bfloat16 arithmetic."""
    from maskrcnn_trainer.detector.tlt import NetworkDetector
    from maskrcnn_trainer.model.restore import network_of
    from maskrcnn_trainer.model_files.model_file import read_model_file
    from maskrcnn_trainer.task.runtime import prepare_tensorflow

    prepare_tensorflow(threads=threads)
    stored = read_model_file(model, with_optimizer=False)
    network = network_of(stored, dtype="mixed_bfloat16")
    return NetworkDetector(network, ClassMap.from_json(stored.class_map), load_spec(spec_file), batch_size=batch)


def main() -> None:
    """Load the model and serve requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--spec", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--bfloat16", action="store_true")
    arguments = parser.parse_args()
    if arguments.bfloat16:
        detector = bfloat16_detector(arguments.model, arguments.spec, arguments.batch, arguments.threads)
    else:
        detector = open_detector(
            arguments.model, load_spec(arguments.spec), threads=arguments.threads, batch_size=arguments.batch
        )
    images = np.load(arguments.images, mmap_mode="r")

    def infer(first: int) -> dict[str, float]:
        """Return the seconds for a batch of images from ``first`` on, from arrays to arrays."""
        taken = np.take(images, range(first, first + arguments.batch), axis=0, mode="wrap")
        began = Clock()
        found = detector.detect(taken)
        return {**began.spent(), "detections": float(sum(len(one.scores) for one in found))}

    serve({"infer": infer})


if __name__ == "__main__":
    main()
