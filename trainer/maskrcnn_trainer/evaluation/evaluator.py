"""Evaluation: every image of a data set through the network, its detections into COCO results, and COCO's metrics."""

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
from maskrcnn_trainer.spec.task_table import DETECTIONS_FILE, METRICS_FILE
from maskrcnn_trainer.task.files import write_json_atomically
from maskrcnn_trainer.task.progress import progress_bar

logger = logging.getLogger(__name__)

INTERIM_METRICS = ("AP", "AP50", "mask_AP", "mask_AP50")

Batch = Mapping[str, Any]
Collect = Callable[[NDArray[np.uint8]], Sequence[NDArray[np.uint8]] | None]


@dataclass(frozen=True)
class EvaluationResult:
    """Metrics of all ranks, and detections and previews of rank 0.

    Attributes:
        metrics: the twelve box and twelve mask metrics (and those at D detections), fractions.
        per_class: by raw category id, fractions.
        num_images, num_detections: of all ranks.
        seconds: from the first batch to the metrics.
        results: the detections of rank 0's images as COCO results, where they were asked for.
        previews: the first images of rank 0 with their detections.
    """

    metrics: dict[str, float]
    per_class: dict[int, dict[str, float]]
    num_images: int
    num_detections: int
    seconds: float
    results: list[CocoResult] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)


@dataclass
class _Own:
    """Images of a rank so far: an index and a number of detections each, and their matches."""

    images: list[int] = field(default_factory=list)
    detections: list[int] = field(default_factory=list)
    matches: list[DetectionMatches] = field(default_factory=list)
    results: list[CocoResult] = field(default_factory=list)
    previews: list[Preview] = field(default_factory=list)

    def payload(self) -> NDArray[np.uint8]:
        """Return images and matches as bytes for rank 0; no masks and no boxes."""
        counts = {"seen": np.array(self.images, np.int32), "found": np.array(self.detections, np.int32)}
        arrays = DetectionMatches.joined(self.matches).arrays() if self.matches else {}
        return np.frombuffer(save(counts | arrays), np.uint8)


class Evaluator:
    """Evaluation of a network on a data set; one object serves many evaluations during a training.

    The threads that turn detections into results also match them with the ground truth, while the network works on the
    next batch. What is left at the end are a few bytes a detection, which rank 0 collects.

    Args:
        detect: images float32 [B, H, W, 3] -> the detections of each.
        dataset: makes the batches of this rank: mappings of images, image_info [B, 5], source_id [B] (text or bytes)
            and valid bool [B], which says what rows count.
        class_map: turns model ids into the data set's category ids.
        ground_truth: all image ids, and the annotations of the images of this rank; metrics are restricted to the
            images that some rank has seen.
        rank: metrics are computed and files written by rank 0 alone.
        collect: takes this rank's bytes and gives those of all ranks to rank 0 (None to the others), once an
            evaluation; default: one rank.
        max_detections: D, the detections that the network gives for an image.
        total_images: images of this rank, for the progress bar.
        threads: threads that turn detections into results and match them.
        report_frequency: rank 0 logs the metrics of its images so far every so many batches; 0 = never.
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
        self._image_ids = json_image_ids(ground_truth.image_ids)

    def evaluate(self, *, previews: int = 0, keep_results: bool = False) -> EvaluationResult | None:
        """Run all images and compare; returns None on ranks other than 0.

        Args:
            previews: how many of the first images to keep for pictures.
            keep_results: keep the detections of this rank's images, run lengths included.

        Raises:
            InvalidInput: the data set is empty, or a record is of an image that the ground truth lacks.
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
            metrics.values, metrics.per_class, num_images, num_detections, seconds, own.results, own.previews
        )

    def _compared(self, collected: Sequence[NDArray[np.uint8]]) -> tuple[CocoMetrics, int, int]:
        """Return the metrics of all ranks, their images and detections; an image seen by two ranks counts once."""
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
            raise InvalidInput("validationFilePattern: there is no image to evaluate", reason="InvalidData")
        return self._matching.metrics(parts), len(seen), num_detections

    def _run(self, previews: int, keep_results: bool) -> _Own:  # noqa: C901 - one loop from batches to matches
        own = _Own()
        begun: set[int] = set()
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
                for row in rows:
                    image_id = known_image_id(source_ids[row], self._image_ids)
                    image = self._matching.number(image_id)
                    if image in begun:
                        continue
                    begun.add(image)
                    future = pool.submit(self._matched, image_id, info[row], found[row])
                    padded = images[row].copy() if len(begun) <= previews else None
                    pending.append((image, padded, info[row], future))
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
        results = image_results(found, image_info=info, image_id=image_id, class_map=self._class_map)
        return results, self._matching.of_image(image_id, results)

    def _log_interim(self, own: _Own) -> None:
        values = self._matching.metrics(own.matches).values
        logger.info(
            "After %d images: %s", len(own.images), ", ".join(f"{name} {values[name]:.4f}" for name in INTERIM_METRICS)
        )


def log_metrics(metrics: CocoMetrics, names: Mapping[int, str]) -> None:
    """One line a metric, and AP of the classes that have ground truth."""
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
    """Write ``metrics.json`` and ``detections.json`` (COCO results format), each renamed into place when complete.

    Args:
        result: of one rank, with its results.
        step: the training step of the model.
        before_write: called before each rename; raises when another run has taken over the directory.

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
