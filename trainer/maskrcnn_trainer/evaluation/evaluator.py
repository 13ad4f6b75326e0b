"""Evaluation: every image of a data set through the network, its detections into COCO results, and COCO's metrics."""

from __future__ import annotations

import itertools
import json
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

from maskrcnn_trainer.artifacts import write_json_atomically
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.evaluation.coco_metrics import (
    STANDARD_DETECTIONS,
    UNDEFINED,
    CocoMetrics,
    GroundTruth,
    evaluate_coco,
)
from maskrcnn_trainer.evaluation.coco_results import (
    CocoResult,
    ImageId,
    PredictedArrays,
    RawIds,
    image_results,
    json_image_ids,
    known_image_id,
)
from maskrcnn_trainer.evaluation.preview import Preview, image_of_canvas
from maskrcnn_trainer.progress import progress_bar

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
DETECTIONS_FILE = "detections.json"
INTERIM_METRICS = ("AP", "AP50", "mask_AP", "mask_AP50")

Batch = Mapping[str, Any]
Gather = Callable[[Any], Sequence[Any]]


@dataclass(frozen=True)
class EvaluationResult:
    """What rank 0 knows after an evaluation.

    Attributes:
        metrics: the twelve box and twelve mask metrics (and those at D detections), fractions.
        per_class: by raw category id, fractions.
        results: all detections as COCO results.
        num_images: images seen by all ranks; seconds: from the first batch to the gathered detections.
        previews: the first images of rank 0 with their detections.
    """

    metrics: dict[str, float]
    per_class: dict[int, dict[str, float]]
    results: list[CocoResult]
    num_images: int
    seconds: float
    previews: list[Preview] = field(default_factory=list)


class Evaluator:
    """Evaluates a network on a data set; one object serves many evaluations during a training.

    Args:
        predict: images [B, H, W, 3] -> detections of the batch (see PredictedArrays), tensors or arrays.
        dataset: makes the batches of this rank: mappings of images, image_info [B, 5], source_id [B] (text or bytes)
            and valid bool [B], which says what rows count.
        class_map: turns model ids into the data set's category ids.
        ground_truth: the annotations; metrics are restricted to the images that some rank has seen.
        rank: metrics are computed and files written by rank 0 alone.
        gather: takes this rank's object and gives the objects of all ranks, once an evaluation; default: one rank.
        max_detections: D, the detections that the network gives for an image.
        total_images: images of this rank, for the progress bar.
        threads: threads that turn detections into results while the network works on the next batch.
        report_frequency: rank 0 logs the metrics of its images so far every so many batches; 0 = never.
    """

    def __init__(
        self,
        predict: Callable[[Any], PredictedArrays],
        dataset: Callable[[], Iterable[Batch]],
        class_map: RawIds,
        ground_truth: GroundTruth,
        *,
        rank: int = 0,
        gather: Gather | None = None,
        max_detections: int = STANDARD_DETECTIONS,
        total_images: int | None = None,
        threads: int = 2,
        report_frequency: int = 0,
    ) -> None:
        self._predict = predict
        self._dataset = dataset
        self._class_map = class_map
        self._ground_truth = ground_truth
        self._rank = rank
        self._gather: Gather = gather or (lambda own: [own])
        self._max_detections = max_detections
        self._total_images = total_images
        self._threads = max(1, threads)
        self._report_frequency = report_frequency if rank == 0 else 0
        self._image_ids = json_image_ids(ground_truth.image_ids)

    def evaluate(self, *, previews: int = 0) -> EvaluationResult | None:
        """Run all images and compare; returns None on ranks other than 0.

        Args:
            previews: how many of the first images to keep for pictures.

        Raises:
            InvalidInput: the data set is empty, or a record is of an image that the ground truth lacks.
        """
        started = time.monotonic()
        seen, results, kept = self._own_results(previews if self._rank == 0 else 0)
        gathered = self._gather((seen, results))
        seconds = time.monotonic() - started
        if self._rank != 0:
            return None
        by_image: dict[ImageId, list[CocoResult]] = {}
        for rank_seen, rank_results in gathered:
            new: dict[ImageId, list[CocoResult]] = {image_id: [] for image_id in rank_seen if image_id not in by_image}
            for result in rank_results:
                if result["image_id"] in new:
                    new[result["image_id"]].append(result)
            by_image |= new
        if not by_image:
            raise InvalidInput("validationFilePattern: there is no image to evaluate", reason="InvalidData")
        all_results = list(itertools.chain.from_iterable(by_image.values()))
        metrics = evaluate_coco(self._ground_truth, all_results, by_image, max_detections=self._max_detections)
        log_metrics(metrics, self._ground_truth.category_names)
        logger.info(
            "Evaluated %d images in %.1f s (%.2f images/s), %d detections",
            len(by_image), seconds, len(by_image) / max(seconds, 1e-9), len(all_results),
        )  # fmt: skip
        return EvaluationResult(metrics.values, metrics.per_class, all_results, len(by_image), seconds, kept)

    def _own_results(self, previews: int) -> tuple[list[ImageId], list[CocoResult], list[Preview]]:
        seen: list[ImageId] = []
        results: list[CocoResult] = []
        kept: list[Preview] = []
        pending: deque[tuple[ImageId, Any, Any, Future[list[CocoResult]]]] = deque()

        def take_oldest() -> None:
            image_id, canvas, info, future = pending.popleft()
            seen.append(image_id)
            found = future.result()
            results.extend(found)
            if canvas is not None:
                kept.append(Preview(image_of_canvas(canvas, info), found))

        with (
            ThreadPoolExecutor(max_workers=self._threads, thread_name_prefix="paste") as pool,
            progress_bar("Evaluating", self._total_images, "images") as progress,
        ):
            for number, batch in enumerate(self._dataset(), start=1):
                predictions = self._predict(batch["images"])
                boxes, classes, scores, mask_logits = (
                    np.asarray(part)
                    for part in (predictions.boxes, predictions.classes, predictions.scores, predictions.mask_logits)
                )
                info = np.asarray(batch["image_info"])
                source_ids = np.asarray(batch["source_id"])
                rows = np.flatnonzero(np.asarray(batch["valid"]))
                for row in rows:
                    image_id = known_image_id(source_ids[row], self._image_ids)
                    wanted = len(seen) + len(pending) < previews
                    future = pool.submit(
                        image_results, boxes[row], classes[row], scores[row], mask_logits[row],
                        image_info=info[row], image_id=image_id, class_map=self._class_map,
                    )  # fmt: skip
                    canvas = np.asarray(batch["images"][row]) if wanted else None
                    pending.append((image_id, canvas, info[row], future))
                while len(pending) > 4 * self._threads + len(rows):
                    take_oldest()
                progress.advance(len(rows))
                if self._report_frequency and number % self._report_frequency == 0:
                    while pending:
                        take_oldest()
                    self._log_interim(seen, results)
            while pending:
                take_oldest()
        return seen, results, kept

    def _log_interim(self, seen: list[ImageId], results: list[CocoResult]) -> None:
        values = evaluate_coco(self._ground_truth, results, seen, max_detections=self._max_detections).values
        logger.info(
            "After %d images: %s", len(seen), ", ".join(f"{name} {values[name]:.4f}" for name in INTERIM_METRICS)
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
        "num_detections": len(result.results),
        "seconds": round(result.seconds, 3),
        "images_per_second": round(result.num_images / max(result.seconds, 1e-9), 3),
    }
    for name, content, indent in ((DETECTIONS_FILE, result.results, None), (METRICS_FILE, metrics, 2)):
        if before_write is not None:
            before_write()
        write_json_atomically(folder / name, content, indent=indent)
    return folder / METRICS_FILE, folder / DETECTIONS_FILE


def read_detections(path: str | os.PathLike[str]) -> list[CocoResult]:
    """COCO results from a file."""
    results: list[CocoResult] = json.loads(Path(path).read_text(encoding="utf-8"))
    return results
