"""Device of ONNX models: a GPU if one is visible, with stand-ins for what needs one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from tests.unit.detector.constant_model import metadata, model_bytes, spec_fields

from maskrcnn_trainer.detector import open_detector
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.spec import ExperimentSpec, parse_spec

TENSORRT, GPU, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture(name="spec")
def _spec() -> ExperimentSpec:
    return parse_spec(spec_fields())


class _OnnxRuntimeForGpus:
    """Record of the calls of ONNX Runtime's build for GPUs; ``used`` are the providers that a session reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, visible: bool, used: list[str]) -> None:
        self.preloads = 0
        self.requested: list[str] = []
        self.options: Sequence[dict[str, str]] = ()
        real = onnxruntime.InferenceSession

        def session(
            payload: bytes, options: Any, providers: list[str], provider_options: Sequence[dict[str, str]] = ()
        ) -> Any:
            self.requested, self.options = providers, provider_options
            opened = real(payload, options, providers=["CPUExecutionProvider"])
            monkeypatch.setattr(opened, "get_providers", lambda: used)
            return opened

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [TENSORRT, GPU, CPU])
        monkeypatch.setattr(onnxruntime, "preload_dlls", self._preload)
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr("maskrcnn_trainer.detector.onnx_runtime.visible_gpus", lambda: int(visible))

    def _preload(self) -> None:
        self.preloads += 1


def test_an_onnx_model_runs_on_a_gpu_with_the_libraries_of_the_packages(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    runtime = _OnnxRuntimeForGpus(monkeypatch, visible=True, used=[GPU, CPU])
    open_detector(tmp_path / "model.onnx", spec, threads=1)
    assert (runtime.requested, runtime.preloads) == ([GPU, CPU], 1)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    _OnnxRuntimeForGpus(monkeypatch, visible=True, used=[CPU])
    open_detector(tmp_path / "model.onnx", spec, threads=1)
    assert "model.onnx: ONNX Runtime could not use the GPU" in caplog.text


def test_an_onnx_model_needs_as_many_gpus_as_requested(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    _OnnxRuntimeForGpus(monkeypatch, visible=True, used=[GPU, CPU])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("MASKRCNN_GPUS", "4")
    with pytest.raises(InvalidInput, match="4: 1 is visible; request at most 1"):
        open_detector(tmp_path / "model.onnx", spec, threads=1)


@pytest.mark.parametrize(("tf32", "value"), [(True, "1"), (False, "0")])
def test_tf32_of_the_spec_reaches_the_gpu(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch, tf32: bool, value: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    runtime = _OnnxRuntimeForGpus(monkeypatch, visible=True, used=[GPU, CPU])
    open_detector(tmp_path / "model.onnx", spec.model_copy(update={"tf32": tf32}), threads=1)
    assert runtime.options == [{"use_tf32": value}, {}]


def test_an_onnx_model_runs_on_the_cpu_if_no_gpu_is_visible(
    tmp_path: Path, spec: ExperimentSpec, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model.onnx").write_bytes(model_bytes(metadata()))
    runtime = _OnnxRuntimeForGpus(monkeypatch, visible=False, used=[CPU])
    open_detector(tmp_path / "model.onnx", spec, threads=1)
    assert (runtime.requested, runtime.preloads) == ([CPU], 0)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
