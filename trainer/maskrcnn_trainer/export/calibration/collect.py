"""Ranges of the tensors that INT8 needs, from one pass of images through the float32 graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from maskrcnn_trainer.detector.outputs import INPUT
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.export.calibration.entropy import entropy_range
from maskrcnn_trainer.export.calibration.histogram import Histogram
from maskrcnn_trainer.export.description import metadata_of
from maskrcnn_trainer.task.progress_bar import progress_bar

log = logging.getLogger(__name__)

SMALLEST_RANGE = 1e-6
"""Range of a tensor that was zero in every image: any positive scale fits it."""


def collect_ranges(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    batches: Iterable[NDArray[np.float32]],
    *,
    images: int,
    threads: int,
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Return the largest absolute value to represent, by tensor.

    Images are processed one by one and only counts are kept, so memory use doesn't depend on the number of images.

    Args:
        model: the float32 graph.
        tensors: names of tensors in the graph.
        batches: float32 [B, 3, H, W], normalized.
        images: number of images, for the progress bar.
        threads: threads of ONNX Runtime.
        check_stop: called before each image; raises to stop.

    Raises:
        InvalidInput: ONNX Runtime is missing, or a tensor has values that are not finite.
    """
    histograms = {name: Histogram() for name in tensors}
    metadata = metadata_of(model)
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (metadata.mean, metadata.std))
    inside = [name for name in tensors if name != INPUT]
    session = _session(model, inside, threads)
    with progress_bar("Calibrating", images, "images") as progress:
        for batch in batches:
            for image in batch:
                check_stop()
                given = (image * std + mean) * np.float32(255.0) if metadata.preprocessing else image
                results = session.run(inside, {INPUT: given[None].astype(np.float32)})
                for name, values in zip((*inside, INPUT), (*results, given), strict=True):
                    if name in histograms:
                        _count(histograms[name], name, values)
                progress.advance(1)
    return {name: _range(name, histogram) for name, histogram in histograms.items()}


def _count(histogram: Histogram, name: str, values: NDArray[np.float32]) -> None:
    try:
        histogram.add(values)
    except ValueError as error:
        raise InvalidInput(f"the model cannot be calibrated: {name} has {error}", reason="InvalidModel") from error


def _range(name: str, histogram: Histogram) -> float:
    found = entropy_range(histogram.counts, histogram.bin_width)
    if found == 0.0:
        log.warning("%s is zero in every calibration image", name)
    return max(found, SMALLEST_RANGE)


def _session(model: onnx.ModelProto, tensors: Sequence[str], threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InvalidInput(
            "--data_type int8 needs the package onnxruntime, which is not installed; install maskrcnn-operator with "
            "the extra `export`",
            reason="MissingPackage",
        ) from error
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {output.name for output in watched.graph.output}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
