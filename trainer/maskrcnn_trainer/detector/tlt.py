"""Detector that runs a ``.tlt`` model, or a network in memory, with TensorFlow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap, class_map_of
from maskrcnn_trainer.detector.interface import Detections, detections_of_batch
from maskrcnn_trainer.model.architecture import Architecture, architecture_of
from maskrcnn_trainer.model.contradictions import refuse_contradictions
from maskrcnn_trainer.model_files.model_file import ModelFile, read_model_file, refuse_unless_retrained
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.runtime import compute_dtype, describe_runtime, prepare_tensorflow

if TYPE_CHECKING:
    from maskrcnn_trainer.model.network import MaskRCNN

log = logging.getLogger(__name__)


class NetworkDetector:
    """:class:`~maskrcnn_trainer.detector.interface.Detector` of a network, whose variables may change between calls.

    Args:
        network: the network; its batch norms use their stored statistics.
        class_map: of the model.
        spec: image size, inference settings, and eval_batch_size for the case that ``batch_size`` is None.
        batch_size: images at once; the function is traced for this number, and smaller batches are padded.
        step: training steps of the weights; None if unknown.
    """

    def __init__(
        self,
        network: MaskRCNN,
        class_map: ClassMap,
        spec: ExperimentSpec,
        *,
        batch_size: int | None = None,
        step: int | None = None,
    ) -> None:
        import tensorflow as tf

        from maskrcnn_trainer.model.predict import InferenceSettings, PaddedDetections, predict

        settings = InferenceSettings.from_spec(spec, network.architecture)
        height, width = spec.data_config.image_size
        self.class_map = class_map
        self.architecture: Architecture = network.architecture
        self.image_size = (int(height), int(width))
        self.batch_size = batch_size or spec.eval_batch_size
        self.detections_per_image = settings.detections_per_image
        self.step = step

        signature = [tf.TensorSpec((self.batch_size, height, width, 3), tf.float32)]

        @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]  # no types
        def predictions(images: tf.Tensor) -> PaddedDetections:
            return predict(network, images, settings)

        self._predict = predictions

    def detect(self, images: NDArray[np.float32]) -> list[Detections]:
        """Return the detections of each image, see :meth:`Detector.detect`."""
        given = len(images)
        if given < self.batch_size:
            images = np.concatenate([images, np.zeros((self.batch_size - given, *self.image_size, 3), np.float32)])
        found = self._predict(images)
        return detections_of_batch(*(part.numpy()[:given] for part in found))


def open_tlt(
    path: Path, spec: ExperimentSpec, *, key: str | None, threads: int, batch_size: int | None = None
) -> NetworkDetector:
    """Open the detector of a ``.tlt`` file, and configure TensorFlow unless it has already run an operation.

    Args:
        path: of the file.
        spec: settings that the model file does not determine.
        key: required if the file is encrypted.
        threads: CPU threads of TensorFlow.
        batch_size: images at once; None for the spec's eval_batch_size.

    Raises:
        InvalidInput: see :func:`read_trained_model`.
    """
    model = read_trained_model(path, key, spec)
    try:
        prepare_tensorflow(threads=threads, deterministic=spec.deterministic, tf32=spec.tf32, seed=spec.seed)
    except RuntimeError as error:  # raised for threads and devices once an operation has run
        log.debug("TensorFlow is already running and keeps its threads: %s", error)
    from maskrcnn_trainer.model.restore import network_of

    dtype = compute_dtype(spec.use_amp)
    log.info("%s", describe_runtime(dtype, processes=1, threads=threads))
    network = network_of(model, dtype=dtype)
    return NetworkDetector(network, class_map_of(model), spec, batch_size=batch_size, step=model.step)


def read_trained_model(path: Path, key: str | None, spec: ExperimentSpec) -> ModelFile:
    """Read a ``.tlt`` file that can be used with ``spec``, without the state of its optimizer.

    Args:
        path: of the file.
        key: required if the file is encrypted.
        spec: the experiment.

    Raises:
        InvalidInput: the file cannot be read, is pruned and not retrained, or contradicts the spec; the message names
            the fields.
    """
    model = read_model_file(path, key, with_optimizer=False)
    refuse_unless_retrained(model, path)
    refuse_contradictions(str(path), architecture_of(model).contradictions(spec))
    return model
