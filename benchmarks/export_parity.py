"""Exported models, compared with the original model on the validation records: AP, and single detections.

    python benchmarks/export_parity.py -e SPEC -m model.tlt model.onnx [fp16.onnx int8.onnx ...]

The exit code is 1 unless a float32 export has box and mask AP within 0.002 of the original model, and 99% of the
detections over 0.5 of either model match: the other model has one of the same class with every side within half a pixel
of the input. Exports of other types are only measured, except for the limit --most-lost.

With --padding black the images are padded as in DeepStream's nvinfer: with black before normalization, whereas training
pads with zeros after it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # set before the import of TensorFlow, to suppress its messages

from maskrcnn_trainer.data.padded_image import MEAN, STD
from maskrcnn_trainer.detector import Detections, Detector, open_detector
from maskrcnn_trainer.evaluation.validation import DetectorValidation
from maskrcnn_trainer.evaluation.validation_data import open_validation
from maskrcnn_trainer.spec import ExperimentSpec, load_spec, require_paths
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.task.cpus import task_threads

AP_TOLERANCE = 0.002
PIXEL_TOLERANCE = 0.5
MATCHED_AT_LEAST = 0.99
SCORE = 0.5


@dataclass(frozen=True)
class Measured:
    """Results of a model on the data set: AP of boxes and masks, images/s, and all detections of all images."""

    ap: float
    mask_ap: float
    images_per_second: float
    detections: list[Detections]


def black_padding(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images [B, H, W, 3] with padding of black pixels, normalized, instead of zeros."""
    result = images.copy()
    black = -np.asarray(MEAN, np.float32) / np.float32(STD)
    for image, changed in zip(images, result, strict=True):
        used = image.any(axis=-1)
        rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
        changed[rows[-1] + 1 if rows.size else 0 :] = black
        changed[:, columns[-1] + 1 if columns.size else 0 :] = black
    return result


class Watched:
    """Detector that records its detections."""

    def __init__(self, detector: Detector, *, black: bool) -> None:
        self._detector = detector
        self._black = black
        self._found: list[Detections] = []
        self.class_map = detector.class_map
        self.architecture = detector.architecture
        self.image_size = detector.image_size
        self.batch_size = detector.batch_size
        self.detections_per_image = detector.detections_per_image
        self.step = detector.step

    def detect(self, images: NDArray[np.float32]) -> list[Detections]:
        """Return the detections of each image, and record them."""
        found = self._detector.detect(black_padding(images) if self._black else images)
        self._found += found
        return found

    def detections(self, images: int) -> list[Detections]:
        """Return the detections of the first ``images`` images; the last batch may have padding rows."""
        return self._found[:images]


def measure(path: Path, spec: ExperimentSpec, *, key: str | None, black: bool) -> Measured:
    """Evaluate a model of any kind on the validation records of ``spec``."""
    threads = task_threads()
    watched = Watched(open_detector(path, spec, key=key, threads=threads), black=black)
    result = DetectorValidation(spec, watched, open_validation(spec), threads=threads).run()
    assert result is not None  # noqa: S101 - a single process has rank 0
    return Measured(
        result.metrics["AP"],
        result.metrics["mask_AP"],
        result.num_images / result.seconds,
        watched.detections(result.num_images),
    )


def matches(a: Sequence[Detections], b: Sequence[Detections]) -> tuple[int, int, float]:
    """Match the detections over 0.5 of either model with those of the other model.

    Returns:
        (number matched, number of detections, largest difference of a box side among the matched, in input pixels).
    """
    matched, total, largest = 0, 0, 0.0
    for ours, theirs in ((a, b), (b, a)):
        for one, other in zip(ours, theirs, strict=True):
            free = np.arange(len(other.scores))
            for row in np.flatnonzero(one.scores > SCORE):
                total += 1
                same = free[other.classes[free] == one.classes[row]]
                if not same.size:
                    continue
                distances = np.abs(other.boxes[same] - one.boxes[row]).max(axis=1)
                nearest = int(np.argmin(distances))
                if distances[nearest] <= PIXEL_TOLERANCE:
                    matched += 1
                    largest = max(largest, float(distances[nearest]))
                    free = free[free != same[nearest]]
    return matched, total, largest


def main() -> int:
    """Compare the exports and print a table; return 1 if a float32 export differs too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-e", "--experiment-spec", required=True, metavar="SPEC")
    parser.add_argument("-m", "--model", required=True, type=Path, help="the .tlt model that was exported")
    parser.add_argument("exports", nargs="*", type=Path, help=".onnx, .etlt or engine files exported from it")
    parser.add_argument("-k", "--key", default=os.environ.get("MASKRCNN_KEY"))
    parser.add_argument("--images", type=int, default=0, help="number of images, from the first on; 0 for all")
    parser.add_argument("--padding", choices=("training", "black"), default="training")
    parser.add_argument(
        "--most-lost", type=float, metavar="AP", help="largest loss of mask AP for fp16 and int8 (default: unlimited)"
    )
    arguments = parser.parse_args()

    spec = load_spec(arguments.experiment_spec)
    require_paths(spec, TaskName.EVALUATE)
    if arguments.images:
        data = spec.data_config.model_copy(update={"eval_samples": arguments.images})
        spec = spec.model_copy(update={"data_config": data})
    black = arguments.padding == "black"
    own = measure(arguments.model, spec, key=arguments.key, black=black)
    print(f"{len(own.detections)} images, padding as in {'nvinfer' if black else 'training'}")
    print(f"{'model':28} {'type':5} {'AP':>8} {'mask AP':>8} {'img/s':>7}   {'matched':>15} {'largest difference':>18}")
    print(f"{arguments.model.name:28} {'tlt':5} {own.ap:8.4f} {own.mask_ap:8.4f} {own.images_per_second:7.2f}")
    failures = []
    for path in arguments.exports:
        found = measure(path, spec, key=arguments.key, black=black)
        data_type = _data_type(path, spec, arguments.key)
        matched, total, largest = matches(own.detections, found.detections)
        share = matched / total if total else 0.0
        print(
            f"{path.name:28} {data_type:5} {found.ap:8.4f} {found.mask_ap:8.4f} {found.images_per_second:7.2f}   "
            f"{matched:5}/{total:<5}{share:5.1%} {largest:15.4f} px"
        )
        if data_type == "fp32":
            failures += _differences(path.name, own, found, share)
        elif arguments.most_lost is not None and own.mask_ap - found.mask_ap > arguments.most_lost:
            failures.append(f"{path.name}: loses {own.mask_ap - found.mask_ap:.4f} mask AP")
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


def _data_type(path: Path, spec: ExperimentSpec, key: str | None) -> str:
    metadata = getattr(open_detector(path, spec, key=key, threads=1), "metadata", None)
    return metadata.data_type if metadata is not None else "tlt"


def _differences(name: str, own: Measured, found: Measured, share: float) -> list[str]:
    failures = [
        f"{name}: {metric} is {theirs:.4f}, more than {AP_TOLERANCE} from {ours:.4f} before the export"
        for metric, ours, theirs in (("AP", own.ap, found.ap), ("mask AP", own.mask_ap, found.mask_ap))
        if not abs(ours - theirs) <= AP_TOLERANCE
    ]
    if share < MATCHED_AT_LEAST:
        failures.append(f"{name}: {share:.2%} of the detections over {SCORE} match, expected {MATCHED_AT_LEAST:.0%}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
