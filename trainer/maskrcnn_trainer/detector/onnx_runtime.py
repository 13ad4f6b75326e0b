"""Detector that runs an exported graph with ONNX Runtime."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import ClassMap
from maskrcnn_trainer.detector.cuda_driver import visible_gpus
from maskrcnn_trainer.detector.interface import Detections
from maskrcnn_trainer.detector.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_trainer.detector.onnx_failures import what_is_wrong
from maskrcnn_trainer.detector.outputs import (
    DETECTIONS,
    INPUT,
    MASK_LOGITS,
    graph_detections,
    graph_input,
    tensor_shapes,
)
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.task.failures import is_out_of_memory
from maskrcnn_trainer.task.gpu_diagnosis import driver
from maskrcnn_trainer.task.gpu_errors import gpu_error
from maskrcnn_trainer.task.gpus import GpuRequest

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CPU_PROVIDER = "CPUExecutionProvider"
GPU_PROVIDER = "CUDAExecutionProvider"
_ONLY_ERRORS = 3

log = logging.getLogger(__name__)


class OnnxDetector:
    """:class:`~maskrcnn_trainer.detector.interface.Detector` of an ONNX model that this trainer exported.

    Args:
        payload: content of the unencrypted ONNX file.
        source: its name in messages.
        threads: CPU threads of the session.
        batch_size: images at once; the graph accepts any number.
        tf32: let a GPU that has TF32 multiply float32 values in it.

    Raises:
        InvalidInput: ONNX Runtime is not installed, or the file isn't an ONNX model that this trainer exported.
    """

    def __init__(self, payload: bytes, source: str, *, threads: int, batch_size: int, tf32: bool = True) -> None:
        self._session = _session(payload, source, threads, tf32)
        try:
            described = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{source}: its metadata cannot be read ({error}); the file is damaged: export the model again",
                reason="InvalidModel",
            ) from error
        inputs = [one.name for one in self._session.get_inputs()]
        outputs = {one.name for one in self._session.get_outputs()}
        if described is None or inputs != [INPUT] or not {DETECTIONS, MASK_LOGITS} <= outputs:
            raise InvalidInput(
                f"{source}: an ONNX model, but not one that maskrcnn export wrote (expected metadata {METADATA_KEY!r}, "
                f"input {INPUT!r}, outputs {DETECTIONS!r} and {MASK_LOGITS!r})",
                reason="InvalidModel",
            )
        self.metadata = ExportMetadata.from_json(described, source)
        _refuse_other_shapes(self._session, self.metadata, source)
        self.batch_size = batch_size
        self._source = source

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
        rows, masks = self._session.run([DETECTIONS, MASK_LOGITS], {INPUT: graph_input(images, self.metadata)})
        return graph_detections(np.asarray(rows), np.asarray(masks), self._source)


def _refuse_other_shapes(session: InferenceSession, metadata: ExportMetadata, source: str) -> None:
    """Raise InvalidInput if the graph's input or outputs do not have the sizes in its metadata."""
    described = tensor_shapes(metadata)
    for tensor in (*session.get_inputs(), *session.get_outputs()):
        expected = described.get(tensor.name)
        if expected is None:
            continue
        sizes = tuple(tensor.shape[1:])
        named = (size for size in zip(sizes, expected, strict=False) if isinstance(size[0], int))
        if len(sizes) != len(expected) or any(size != right for size, right in named):
            raise InvalidInput(
                f"{source}: {tensor.name} is {list(sizes)} for each image in the graph, but {list(expected)} in its "
                "metadata; export the model again",
                reason="InvalidModel",
            )


def _session(payload: bytes, source: str, threads: int, tf32: bool) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise InvalidInput(
            f"{source}: ONNX models need the package onnxruntime, which is not installed here (the extra `export` of "
            "maskrcnn-operator installs it)",
            reason="MissingPackage",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONLY_ERRORS
    # Threads that spin while they wait for a batch would take CPU time from those that decode and draw.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = _providers(onnxruntime)
    try:
        session = onnxruntime.InferenceSession(
            payload,
            options,
            providers=providers,
            provider_options=[{"use_tf32": str(int(tf32))} if one == GPU_PROVIDER else {} for one in providers],
        )
    except Exception as error:  # ONNX Runtime's exceptions have no other common class
        if is_out_of_memory(error) or gpu_error(str(error)):
            raise
        wrong = what_is_wrong(error, payload, onnxruntime.__version__)
        raise InvalidInput(
            f"{source}: ONNX Runtime cannot open it: {wrong}; use the file that export wrote, or export the model "
            "again",
            reason="InvalidModel",
        ) from error
    on_gpu = GPU_PROVIDER in session.get_providers()
    _refuse_fewer_gpus(on_gpu, GpuRequest.from_environ(), onnxruntime.__version__)
    log.info(
        "%s: ONNX Runtime %s runs the model on %s", source, onnxruntime.__version__, "a GPU" if on_gpu else "the CPU"
    )
    if GPU_PROVIDER in providers and not on_gpu:
        log.warning(
            "%s: ONNX Runtime could not use the GPU (its messages are above); the model runs on the CPU", source
        )
    return session


def _refuse_fewer_gpus(on_gpu: bool, request: GpuRequest, version: str) -> None:
    """Raise InvalidInput if more GPUs were requested than are visible, or the session has fallen back to the CPU."""
    if on_gpu and (visible := visible_gpus()) < request.least:
        raise InvalidInput(
            f"{request.given}: {visible} {'is' if visible == 1 else 'are'} visible; request at most {visible}",
            reason="MissingDevice",
        )
    if request.given and not on_gpu:
        raise InvalidInput(
            f"{request.given}: ONNX Runtime {version} finds no GPU ({driver()}); ONNX models run on a GPU with the "
            "package onnxruntime-gpu, CUDA 12, and cuDNN 9; install them, use the .tlt, or request no GPU",
            reason="MissingDevice",
        )


def _providers(onnxruntime: ModuleType) -> list[str]:
    """Return what runs the graph, in order of preference: a GPU if one is visible to a build for GPUs, and the CPU."""
    if GPU_PROVIDER not in onnxruntime.get_available_providers() or not visible_gpus():
        return [CPU_PROVIDER]
    # The libraries of the NVIDIA packages, which this build of ONNX Runtime doesn't find by itself.
    onnxruntime.preload_dlls()
    return [GPU_PROVIDER, CPU_PROVIDER]
