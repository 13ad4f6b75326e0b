"""Detector that runs a TensorRT engine built by ``maskrcnn export``, on the type of GPU that it was built for.

It uses TensorRT's Python API (docs.nvidia.com/deeplearning/tensorrt), 8.6 and 10: named tensors and
``execute_async_v3``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector.cuda_driver import CudaDevice
from maskrcnn_trainer.detector.interface import Detections
from maskrcnn_trainer.detector.metadata import ExportMetadata, metadata_path
from maskrcnn_trainer.detector.outputs import (
    DETECTIONS,
    INPUT,
    MASK_LOGITS,
    graph_detections,
    graph_input,
    tensor_shapes,
)
from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.model.architecture import Architecture

log = logging.getLogger(__name__)


class EngineDetector:
    """:class:`~maskrcnn_trainer.detector.interface.Detector` of an engine.

    Args:
        payload: the serialized engine.
        path: of the engine; ``<path>.json`` describes it.
        batch_size: images at once; the engine's largest batch if that is smaller.

    Raises:
        InvalidInput: the description, TensorRT, or a GPU is missing, or the engine is for another GPU or TensorRT.
        TaskError: the GPU is out of memory, or the driver failed.
    """

    def __init__(self, payload: bytes, path: Path, *, batch_size: int) -> None:
        self.metadata = read_engine_metadata(path)
        tensorrt = _tensorrt(path)
        self._source = str(path)
        self._device = CudaDevice()
        logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        if hasattr(tensorrt, "init_libnvinfer_plugins"):  # later releases load their plugins themselves
            tensorrt.init_libnvinfer_plugins(logger, "")
        self._engine = tensorrt.Runtime(logger).deserialize_cuda_engine(payload)
        if self._engine is None:
            raise InvalidInput(
                f"{path}: TensorRT {tensorrt.__version__} cannot load this engine on this GPU (an engine is for one "
                "type of GPU and one release of TensorRT); build it here with maskrcnn export --engine_file",
                reason="InvalidModel",
            )
        largest = int(self._engine.get_tensor_profile_shape(INPUT, 0)[2][0])
        if largest < batch_size:
            log.info(
                "%s was built for at most %d images at once, which is used instead of %d", path, largest, batch_size
            )
        self.batch_size = min(batch_size, largest)
        self._context = self._engine.create_execution_context()
        self._shapes = tensor_shapes(self.metadata)
        self._addresses = {}
        for name, shape in self._shapes.items():
            if self._engine.get_tensor_dtype(name) != tensorrt.float32:
                raise InvalidInput(
                    f"{path}: {name} is not float32; build it with maskrcnn export", reason="InvalidModel"
                )
            self._addresses[name] = self._device.allocate(4 * self.batch_size * int(np.prod(shape)))
            self._context.set_tensor_address(name, self._addresses[name])

    @property
    def class_map(self) -> ClassMap:
        """Mapping between model ids and the categories of the data set."""
        return self.metadata.class_map

    @property
    def architecture(self) -> Architecture:
        """Architecture of the network."""
        return self.metadata.architecture

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the padded image in pixels."""
        return self.metadata.image_size

    @property
    def detections_per_image(self) -> int:
        """Largest number of detections of an image."""
        return self.metadata.detections_per_image

    @property
    def step(self) -> int | None:
        """Training steps of the weights; None if unknown."""
        return self.metadata.step

    def detect(self, images: NDArray[np.float32]) -> list[Detections]:
        """Return the detections of each image, see :meth:`Detector.detect`."""
        self._device.make_current()
        given = len(images)
        self._context.set_input_shape(INPUT, (given, *self._shapes[INPUT]))
        self._device.upload(self._addresses[INPUT], graph_input(images, self.metadata))
        if not self._context.execute_async_v3(self._device.stream):
            raise TaskError(
                "TensorRT could not run the engine; see its message in the log above", reason="DeviceFailed"
            )
        self._device.synchronize()
        rows, masks = (self._output(name, given) for name in (DETECTIONS, MASK_LOGITS))
        return graph_detections(rows, masks, self._source)

    def _output(self, name: str, given: int) -> NDArray[np.float32]:
        values = np.empty((given, *self._shapes[name]), np.float32)
        self._device.download(self._addresses[name], values)
        return values


def read_engine_metadata(path: Path) -> ExportMetadata:
    """Return the description of an engine, from ``<path>.json``.

    Raises:
        InvalidInput: the description is missing, unreadable, or invalid.
    """
    description = metadata_path(path)
    try:
        return ExportMetadata.from_json(description.read_bytes(), str(description))
    except OSError as error:
        raise InvalidInput(
            f"{path}: an engine needs {description.name} in the same directory, which maskrcnn export --engine_file "
            f"writes ({error.strerror})",
            reason="InvalidModel",
        ) from error


def _tensorrt(path: Path) -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise InvalidInput(
            f"{path}: an engine needs the package tensorrt, which is not installed here (an image has it if built with "
            "the argument TENSORRT); use the .tlt or the .onnx, or run this on the machine that built the engine",
            reason="MissingPackage",
        ) from error
    return tensorrt
