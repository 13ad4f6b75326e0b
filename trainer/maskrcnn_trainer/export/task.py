"""The export task: from a trained model file to the files that a runtime reads."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from maskrcnn_trainer.data.class_map import class_map_of
from maskrcnn_trainer.detector.metadata import metadata_path
from maskrcnn_trainer.detector.tlt import read_trained_model
from maskrcnn_trainer.export.calibration.cache import cache_text
from maskrcnn_trainer.export.calibration.collect import collect_ranges
from maskrcnn_trainer.export.calibration.images import CalibrationSet, directory_batches, record_batches
from maskrcnn_trainer.export.calibration.tensorfile import TensorFile, stored_batches
from maskrcnn_trainer.export.deepstream import labels_text, nvinfer_config
from maskrcnn_trainer.export.description import metadata_of
from maskrcnn_trainer.export.engine import EngineSettings, build_engine, load_tensorrt
from maskrcnn_trainer.export.graph import check_graph, export_graph
from maskrcnn_trainer.export.half import half_precision
from maskrcnn_trainer.export.outputs import PLAIN, ExportFiles, write_model
from maskrcnn_trainer.export.quantize import FLOAT_LAYERS, calibrated_tensors, quantized
from maskrcnn_trainer.model.restore import network_of
from maskrcnn_trainer.results.facts import ModelFacts
from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.results.ownership import ownership_guard
from maskrcnn_trainer.spec import ExperimentSpec, load_spec, require_paths
from maskrcnn_trainer.spec.task_name import TaskName
from maskrcnn_trainer.staging.task_inputs import TRAINING_PATTERN
from maskrcnn_trainer.task.cpus import task_threads
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.failures import explained_failures
from maskrcnn_trainer.task.files import make_directory, write_atomically
from maskrcnn_trainer.task.reporter import task_report
from maskrcnn_trainer.task.runtime import prepare_tensorflow
from maskrcnn_trainer.task.staged_inputs import with_staged_paths
from maskrcnn_trainer.task.stopping import StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSettings:
    """Settings of an export.

    Attributes:
        data_type: fp32, fp16, or int8.
        preprocessing: whether the graph normalizes its input.
        batches: number of batches to calibrate on.
        batch_size: images per calibration batch.
        image_dir: directory of images to calibrate on instead of the training records.
        tensor_file: file of the calibration images; read if it exists, else written.
        engine_batches: smallest, optimal, and largest batch size of the engine.
        workspace: limit of the GPU's scratch memory in bytes.
        strict_types: see :class:`EngineSettings`.
    """

    data_type: str = "fp32"
    preprocessing: bool = False
    batches: int = 10
    batch_size: int = 16
    image_dir: Path | None = None
    tensor_file: Path | None = None
    engine_batches: tuple[int, int, int] = (1, 1, 1)
    workspace: int = 1 << 31
    strict_types: bool = False

    @property
    def calibrates_on_records(self) -> bool:
        """True if the training records are read to calibrate."""
        stored = self.tensor_file is not None and self.tensor_file.exists()
        return self.data_type == "int8" and self.image_dir is None and not stored


def export_task(
    *,
    spec_path: str,
    model_path: Path,
    files: ExportFiles,
    results_dir: Path,
    settings: ExportSettings,
    key: str | None,
    environment: TaskEnvironment,
    token: str | None,
) -> None:
    """Run ``maskrcnn export``: write ``files`` and report them.

    The engine comes last: if it cannot be built, all files that it would be built from exist.
    """
    guard = ownership_guard(results_dir, token)
    threads = task_threads()
    with (
        StopRequest() as stop,
        task_report(
            TaskName.EXPORT,
            results_dir,
            environment,
            started="Starting Mask R-CNN export.",
            threads=threads,
            before_write=guard,
        ) as reporter,
        explained_failures(),
    ):
        spec = load_spec(spec_path, trains=False)
        if settings.calibrates_on_records:
            spec = with_staged_paths(spec, TRAINING_PATTERN)
            require_paths(spec, TaskName.EXPORT, source=str(spec_path))
        for path in files.all:
            make_directory(path.parent)
        remove_leftovers(results_dir, outputs=[*files.all, *([settings.tensor_file] if settings.tensor_file else [])])
        model, parameters = _exported(model_path, key, spec, settings, threads)
        artifacts = {"model": files.model}
        if settings.data_type == "int8" and files.cache is not None:
            batches = _calibration_batches(spec, settings, guard)
            model = _calibrated(model, batches, files.cache, threads=threads, check_stop=stop.check, guard=guard)
            artifacts["calibration_cache"] = files.cache
        payload = model.SerializeToString()
        write_model(files.model, payload, key, before_rename=guard)
        log.info("%s: %s, %.1f MB", files.model, settings.data_type, files.model.stat().st_size / 1e6)
        if files.deepstream:
            artifacts |= _write_deepstream(model, files, settings, guard)
        if files.engine is not None:
            _write_engine(model, payload, files.engine, settings, guard)
            artifacts |= {"engine": files.engine, "engine_metadata": metadata_path(files.engine)}
        reporter.succeeded(
            "Export finished successfully.",
            metrics={"size": files.model.stat().st_size},
            artifacts=artifacts,
            model_path=files.model,
            facts=ModelFacts(parameters, settings.data_type).to_json(),
        )


def _exported(
    model_path: Path, key: str | None, spec: ExperimentSpec, settings: ExportSettings, threads: int
) -> tuple[onnx.ModelProto, int]:
    """Return the checked graph, in half precision for fp16, and the number of parameters of the model."""
    model = read_trained_model(model_path, key, spec)
    prepare_tensorflow(threads=threads)
    network = network_of(model)
    graph = check_graph(
        export_graph(
            network,
            spec,
            class_map_of(model),
            preprocessing=settings.preprocessing,
            step=model.step,
        )
    )
    if settings.data_type == "fp16":
        graph = check_graph(half_precision(graph))
    return graph, network.parameter_count


@dataclass(frozen=True)
class _Batches:
    images: int
    batches: Iterator[NDArray[np.float32]]


def _calibrated(
    model: onnx.ModelProto,
    batches: _Batches,
    cache: Path,
    *,
    threads: int,
    check_stop: Callable[[], None],
    guard: Callable[[], None],
) -> onnx.ModelProto:
    """Return the checked INT8 graph of a float32 one; write the calibration cache."""
    ranges = collect_ranges(
        model,
        calibrated_tensors(model),
        batches.batches,
        images=batches.images,
        threads=threads,
        check_stop=check_stop,
    )
    write_atomically(cache, cache_text(ranges).encode(), before_rename=guard)
    log.info(
        "%s: scales of %d tensors, for TensorRT 8 to 10 with a float32 export; the INT8 graph contains its scales",
        cache,
        len(ranges),
    )
    int8_model = check_graph(quantized(model, ranges))
    log.info("Kept in floating point: %s, and every operation between the layers", ", ".join(FLOAT_LAYERS))
    return int8_model


def _calibration_batches(spec: ExperimentSpec, settings: ExportSettings, guard: Callable[[], None]) -> _Batches:
    """Return the images to calibrate on: those of the tensor file, else drawn ones, which are stored in that file."""
    height, width = spec.data_config.image_size
    tensor_file = settings.tensor_file
    if tensor_file is not None and tensor_file.exists():
        stored = TensorFile(tensor_file, (height, width))
        log.info("Calibrating on the %d images of %s; delete it to draw other images", stored.images, tensor_file)
        return _Batches(stored.images, stored.batches())
    selection = CalibrationSet((height, width), settings.batches, settings.batch_size, spec.seed)
    if settings.image_dir is not None:
        images, batches = directory_batches(settings.image_dir, selection)
    else:
        images, batches = record_batches(str(spec.data_config.training_file_pattern), selection)
    if tensor_file is not None:
        make_directory(tensor_file.parent, flag="--cal_data_file: the directory of")
        batches = stored_batches(tensor_file, batches, before_rename=guard)
    return _Batches(images, batches)


def _write_deepstream(
    model: onnx.ModelProto, files: ExportFiles, settings: ExportSettings, guard: Callable[[], None]
) -> dict[str, Path]:
    metadata = metadata_of(model)
    plain = files.model.with_suffix(PLAIN).name
    config = nvinfer_config(
        metadata,
        onnx_file=plain,
        encrypted_file=None if plain == files.model.name else files.model.name,
        calibration_cache=_from(files.config, files.cache),
        engine_file=_from(files.config, files.engine),
        max_batch_size=settings.engine_batches[2],
    )
    write_atomically(files.config, config.encode(), before_rename=guard)
    write_atomically(files.labels, labels_text(metadata.class_map).encode(), before_rename=guard)
    return {"deepstream_config": files.config, "labels": files.labels}


def _from(config: Path, file: Path | None) -> str | None:
    """Return the path of a file relative to the configuration, as nvinfer reads it."""
    return None if file is None else os.path.relpath(file, config.parent)


def _write_engine(
    model: onnx.ModelProto, payload: bytes, path: Path, settings: ExportSettings, guard: Callable[[], None]
) -> None:
    metadata = metadata_of(model)
    engine = build_engine(
        load_tensorrt(),
        payload,
        EngineSettings(
            settings.data_type,
            metadata.image_size,
            batches=settings.engine_batches,
            workspace=settings.workspace,
            strict=settings.strict_types,
        ),
    )
    write_atomically(metadata_path(path), (json.dumps(metadata.to_json()) + "\n").encode(), before_rename=guard)
    write_atomically(path, engine, before_rename=guard)
