"""Evaluation on the validation records of a spec: during training, and once in the evaluate task."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.data.faults import named_faults
from maskrcnn_trainer.data.identity import validation_identity
from maskrcnn_trainer.data.pipeline import evaluation_dataset
from maskrcnn_trainer.data.summary import record_summary
from maskrcnn_trainer.detector import Detector
from maskrcnn_trainer.detector.tlt import NetworkDetector
from maskrcnn_trainer.evaluation.coco_metrics import GroundTruth
from maskrcnn_trainer.evaluation.coco_results import json_image_ids
from maskrcnn_trainer.evaluation.evaluator import EvaluationResult, Evaluator
from maskrcnn_trainer.evaluation.preview import PREVIEW_IMAGES
from maskrcnn_trainer.evaluation.validation_data import ValidationData
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.results.evaluated_images import EvaluatedImage, EvaluatedImageList
from maskrcnn_trainer.spec import ExperimentSpec


class WorkerGroup(Protocol):
    """Processes that evaluate together."""

    @property
    def rank(self) -> int:
        """Rank of this process."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def collect(self, payload: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]] | None:
        """Send this rank's bytes; return those of all ranks on rank 0, None on the others."""
        ...


class DetectorValidation:
    """Evaluation of a detector on the validation set.

    Args:
        spec: settings for inference.
        detector: a model of any kind.
        data: records and annotations.
        threads: CPU threads that match detections.
        group: processes among which the records are divided; None for this process alone.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        detector: Detector,
        data: ValidationData,
        *,
        threads: int,
        group: WorkerGroup | None = None,
    ) -> None:
        config = spec.data_config
        # An engine may have been built for smaller batches than the spec's.
        self._spec = spec.model_copy(update={"eval_batch_size": detector.batch_size})
        self._rank, self._size = (group.rank, group.size) if group else (0, 1)
        self.records = data.records
        self._check_stop: Callable[[], None] = lambda: None
        records = len(self.records)
        self._total = total = min(config.eval_samples, records) if config.eval_samples else records
        self._rows = range(self._rank, total, self._size)
        self.ground_truth = self._own_part(data.ground_truth) if self._size > 1 else data.ground_truth
        self._dataset: tf.data.Dataset | None = None
        self._evaluator = Evaluator(
            detector.detect,
            self._batches,
            detector.class_map,
            self.ground_truth,
            rank=self._rank,
            collect=group.collect if group else None,
            max_detections=detector.detections_per_image,
            total_images=len(self._rows),
            threads=threads,
            report_frequency=spec.report_frequency,
            pasting=detector.architecture.mask_pasting,
        )

    def run(
        self, *, check_stop: Callable[[], None] | None = None, previews: bool = False, keep_results: bool = False
    ) -> EvaluationResult | None:
        """Evaluate all images; return None on ranks other than 0.

        Args:
            check_stop: called before each batch; raises to stop.
            previews: whether to keep the first images for pictures.
            keep_results: whether to keep the detections of this rank's images.
        """
        self._check_stop = check_stop or (lambda: None)
        return self._evaluator.evaluate(previews=PREVIEW_IMAGES if previews else 0, keep_results=keep_results)

    def evaluated_images(self, result: EvaluationResult) -> EvaluatedImageList:
        """Return the images of ``result`` with their records; of a worker group, those of rank 0."""
        records = self.records
        numbers = ((image, self._rows[place]) for image, place in result.images.items())
        return EvaluatedImageList(
            validation_identity(self._spec, records),
            _absolute(str(self._spec.data_config.val_json_file)),
            [
                EvaluatedImage(
                    image,
                    _absolute(records.files[records.file_ids[number]]),
                    int(records.offsets[number]),
                )
                for image, number in numbers
            ],
        )

    def preview_pictures(self, result: EvaluationResult) -> dict[str, NDArray[Any]]:
        """Return the pictures of ``result``, uint8 [H, W, 3], under TAO Toolkit's summary names."""
        return {f"{number}_input": preview.drawn(self.names) for number, preview in enumerate(result.previews)}

    @property
    def names(self) -> Mapping[int, str]:
        """Category names by raw id."""
        return self.ground_truth.category_names

    def _own_part(self, ground_truth: GroundTruth) -> GroundTruth:
        """Return the ground truth without the annotations of the other ranks' images."""
        known = json_image_ids(ground_truth.image_ids)
        own = (
            source.decode(errors="replace") for source in record_summary(self.records, records=self._rows).source_ids
        )
        return ground_truth.restricted_to(known[name] for name in own if name in known)

    def _batches(self) -> Iterator[Mapping[str, Any]]:
        if self._dataset is None:
            # Created once: otherwise each evaluation would trace its functions again, and TensorFlow keeps all traces.
            self._dataset = evaluation_dataset(
                self.records,
                self._spec,
                rank=self._rank,
                ranks=self._size,
                limit=self._spec.data_config.eval_samples,
            )
        size = self._spec.eval_batch_size
        for batch in named_faults(self._dataset, self.records, lambda k: self._rows[k * size : (k + 1) * size]):
            self._check_stop()
            yield batch


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - links unresolved


class Validation(DetectorValidation):
    """Evaluation of a network in memory, whose variables may change between runs, on the validation set.

    Args:
        spec: settings for inference.
        network: network, evaluated with its stored batch-norm statistics.
        class_map: class map of the model.
        data: records and annotations.
        threads: CPU threads that match detections.
        group: processes among which the records are divided.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        network: MaskRCNN,
        class_map: ClassMap,
        data: ValidationData,
        *,
        threads: int,
        group: WorkerGroup,
    ) -> None:
        super().__init__(spec, NetworkDetector(network, class_map, spec), data, threads=threads, group=group)
