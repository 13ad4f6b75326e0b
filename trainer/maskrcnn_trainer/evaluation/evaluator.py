"""Evaluation of a network on a data set: detections of every image, COCO results, and COCO's metrics."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from maskrcnn_trainer.detector import Detections
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_matching import DetectionMatches
from maskrcnn_trainer.evaluation.coco_metrics import (
    STANDARD_DETECTIONS,
    UNDEFINED,
    CocoMatching,
    CocoMetrics,
    GroundTruth,
)
from maskrcnn_trainer.evaluation.coco_results import (
    CocoResult,
    ImageId,
    RawIds,
    image_results,
    json_image_ids,
    known_image_id,
    original_size,
)
from maskrcnn_trainer.evaluation.preview import Preview, image_of_padded
from maskrcnn_trainer.model.architecture import MaskPasting
from maskrcnn_trainer.spec.task_table import DETECTIONS_FILE, METRICS_FILE
from maskrcnn_trainer.task.files import write_json_atomically
from maskrcnn_trainer.task.progress_bar import progress_bar

logger = logging.getLogger(__name__)

INTERIM_METRICS = ("AP", "AP50", "mask_AP", "mask_AP50")

Batch = Mapping[str, Any]
Collect = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.uint8]] | None]


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of all ranks, and detections and previews of rank 0.

    Attributes:
        metrics: the twelve box and twelve mask metrics (and those at D detections), as fractions.
        per_class: metrics by raw category id, as fractions.
        num_images: number of images of all ranks.
        num_detections: number of detections of all ranks.
        seconds: time from the first batch to the metrics.
        images: rank 0's images in the order of its data set: the number of each, from 0, by image id.
        results: the detections of rank 0's images as COCO results, if requested.
        previews: the first images of rank 0 with their detections, if requested.
    """

    metrics: dict[str, float]
    per_class: dict[int, dict[str, float]]
    num_images: int
    num_detections: int
    seconds: float
    images: Mapping[ImageId, int]
    results: list[CocoResult] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)


@dataclass
class _Own:
    """Images that a rank has evaluated so far: the index and the number of detections of each, and the matches."""

    places: dict[ImageId, int] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)
    detections: list[int] = field(default_factory=list)
    matches: list[DetectionMatches] = field(default_factory=list)
    results: list[CocoResult] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)

    def payload(self) -> NDArray[np.uint8]:
        """Return images and matches as bytes for rank 0, without masks and boxes."""
        counts = {"seen": np.array(self.images, np.int32), "found": np.array(self.detections, np.int32)}
        arrays = DetectionMatches.joined(self.matches).arrays() if self.matches else {}
        return np.frombuffer(save(counts | arrays), np.uint8)


class Evaluator:
    """Evaluation of a network on a data set; one object can evaluate many times during a training.

    Threads convert detections into results and match them with the ground truth, while the network processes the next
    batch. Only a few bytes per detection remain, which rank 0 collects at the end.

    Args:
        detect: images float32 [B, H, W, 3] -> the detections of each.
        dataset: creates the batches of this rank: mappings with images, image_info [B, 5], source_id [B] (text or
            bytes) and valid bool [B], which is false for padding rows.
        class_map: maps model ids to the data set's category ids.
        ground_truth: all image ids, and the annotations of this rank's images; metrics cover only the images that some
            rank has evaluated.
        rank: rank of this process; only rank 0 computes metrics and writes files.
        collect: sends this rank's bytes and returns those of all ranks on rank 0, None on the others; called once per
            evaluation. Default: a single rank.
        max_detections: D, maximum detections of the network per image.
        total_images: number of images of this rank, for the progress bar.
        threads: number of threads that convert and match detections.
        report_frequency: batches after which rank 0 logs the metrics of its images so far; 0 = never.
        pasting: how masks are pasted, see :mod:`maskrcnn_trainer.evaluation.paste`.
    """

    def __init__(
        self,
        detect: Callable[[NDArray[np.float32]], Sequence[Detections]],
        dataset: Callable[[], Iterable[Batch]],
        class_map: RawIds,
        ground_truth: GroundTruth,
        *,
        rank: int = 0,
        collect: Collect | None = None,
        max_detections: int = STANDARD_DETECTIONS,
        total_images: int | None = None,
        threads: int = 2,
        report_frequency: int = 0,
        pasting: MaskPasting = "pixel_centers",
    ) -> None:
        self._detect = detect
        self._dataset = dataset
        self._class_map = class_map
        self._ground_truth = ground_truth
        self._matching = CocoMatching(ground_truth, max_detections=max_detections)
        self._rank = rank
        self._collect: Collect = collect or (lambda own: [own])
        self._total_images = total_images
        self._threads = max(1, threads)
        self._report_frequency = report_frequency if rank == 0 else 0
        self._pasting = pasting
        self._image_ids = json_image_ids(ground_truth.image_ids)

    def evaluate(self, *, previews: int = 0, keep_results: bool = False) -> EvaluationResult | None:
        """Evaluate all images; return None on ranks other than 0.

        Args:
            previews: number of images, from the first on, to keep for pictures.
            keep_results: whether to keep the detections of this rank's images, with run lengths.

        Raises:
            InvalidInput: the data set is empty, or the ground truth has no image for a record.
        """
        started = time.monotonic()
        own = self._run(previews if self._rank == 0 else 0, keep_results)
        collected = self._collect(own.payload())
        if collected is None:
            return None
        metrics, num_images, num_detections = self._compared(collected)
        seconds = time.monotonic() - started
        log_metrics(metrics, self._ground_truth.category_names)
        logger.info(
            "Evaluated %d images in %.1f s (%.2f images/s), %d detections",
            num_images, seconds, num_images / max(seconds, 1e-9), num_detections,
        )  # fmt: skip
        return EvaluationResult(
            metrics.values,
            metrics.per_class,
            num_images,
            num_detections,
            seconds,
            own.places,
            own.results,
            own.previews,
        )

    def _compared(self, collected: Sequence[NDArray[np.uint8]]) -> tuple[CocoMetrics, int, int]:
        """Return the metrics, images, and detections of all ranks; an image evaluated by two ranks counts once."""
        seen = np.zeros(0, np.int32)
        num_detections = 0
        parts = []
        for payload in collected:
            arrays = load(payload.tobytes())
            images, found = arrays.pop("seen"), arrays.pop("found")
            num_detections += int(found[~np.isin(images, seen)].sum())
            if arrays:
                parts.append(DetectionMatches(**arrays).without(seen))
            seen = np.union1d(seen, images)
        if not len(seen):
            raise InvalidInput("validationFilePattern: no image to evaluate", reason="InvalidData")
        return self._matching.metrics(parts), len(seen), num_detections

    def _run(self, previews: int, keep_results: bool) -> _Own:  # noqa: C901 - one loop from batches to matches
        own = _Own()
        seen = 0
        pending: deque[tuple[int, Any, Any, Future[tuple[list[CocoResult], DetectionMatches]]]] = deque()

        def take_oldest() -> None:
            image, padded, info, future = pending.popleft()
            results, matches = future.result()
            own.images.append(image)
            own.detections.append(len(results))
            own.matches.append(matches)
            if keep_results:
                own.results.extend(results)
            if padded is not None:
                own.previews.append(Preview(image_of_padded(padded, info), results, original_size(info)))

        with (
            ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix="match") as pool,
            progress_bar("Evaluating", self._total_images, "images") as progress,
        ):
            for number, batch in enumerate(self._dataset(), start=1):
                images = np.asarray(batch["images"])
                found = self._detect(images)
                info = np.asarray(batch["image_info"])
                source_ids = np.asarray(batch["source_id"])
                rows = np.flatnonzero(np.asarray(batch["valid"]))
                for place, row in enumerate(rows, start=seen):
                    image_id = known_image_id(source_ids[row], self._image_ids)
                    if image_id in own.places:
                        continue
                    own.places[image_id] = place
                    image = self._matching.number(image_id)
                    future = pool.submit(self._matched, image_id, info[row], found[row])
                    padded = images[row].copy() if len(own.places) <= previews else None
                    pending.append((image, padded, info[row], future))
                seen += len(rows)
                while len(pending) > 4 * self._threads + len(rows):
                    take_oldest()
                progress.advance(len(rows))
                if self._report_frequency and number % self._report_frequency == 0:
                    while pending:
                        take_oldest()
                    self._log_interim(own)
            while pending:
                take_oldest()
        return own

    def _matched(
        self, image_id: ImageId, info: NDArray[Any], found: Detections
    ) -> tuple[list[CocoResult], DetectionMatches]:
        results = image_results(
            found, image_info=info, image_id=image_id, class_map=self._class_map, pasting=self._pasting
        )
        return results, self._matching.of_image(image_id, results)

    def _log_interim(self, own: _Own) -> None:
        values = self._matching.metrics(own.matches).values
        logger.info(
            "After %d images: %s", len(own.images), ", ".join(f"{name} {values[name]:.4f}" for name in INTERIM_METRICS)
        )


def log_metrics(metrics: CocoMetrics, names: Mapping[int, str]) -> None:
    """Log one line per metric, and AP of each class that has ground truth."""
    for name, value in metrics.values.items():
        logger.info("%-16s %.6f", name, value)
    if len(metrics.per_class) > 1:
        for category, values in metrics.per_class.items():
            if all(value == UNDEFINED for value in values.values()):
                continue
            logger.info(
                "class %-24s %s",
                names.get(category, category),
                "  ".join(f"{name} {value:.4f}" if value >= 0 else f"{name} -" for name, value in values.items()),
            )


def write_evaluation(
    output_dir: str | os.PathLike[str],
    result: EvaluationResult,
    names: Mapping[int, str],
    *,
    step: int | None = None,
    before_write: Callable[[], None] | None = None,
) -> tuple[Path, Path]:
    """Write ``metrics.json`` and ``detections.json`` (COCO results format), each of them atomically.

    Args:
        output_dir: directory of the two files; created if missing.
        result: result of one rank, with its detections.
        names: class names by category id.
        step: training step of the model.
        before_write: called before each rename; raises if another run has taken over the directory.

    Returns:
        the paths of the two files.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {
        "step": step,
        "metrics": result.metrics,
        "per_class": [
            {"category_id": category, "name": names.get(category, str(category))} | values
            for category, values in result.per_class.items()
        ],
        "num_images": result.num_images,
        "num_detections": result.num_detections,
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.num_images / max(result.seconds, 1e-9), 3),
    }
    for name, content, indent in ((DETECTIONS_FILE, result.results, None), (METRICS_FILE, metrics, 2)):
        if before_write is not None:
            before_write()
        write_json_atomically(folder / name, content, indent=indent)
    return folder / METRICS_FILE, folder / DETECTIONS_FILE
