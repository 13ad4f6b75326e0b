"""Causes of a missing GPU, from a recorded log of TensorFlow and a recorded file of the driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.task import gpu_diagnosis
from maskrcnn_trainer.task.gpu_diagnosis import driver, libraries_in, why_no_gpu

# wording: tsl/platform/default/dso_loader.cc, stream_executor/cuda, and gpu_device.cc of TensorFlow 2.18
LOG = """\
2026-05-02 09:12:44.190316: I external/local_xla/xla/tsl/cuda/cudart_stub.cc:32] Could not find cuda drivers
2026-05-02 09:12:45.301125: I external/local_tsl/tsl/platform/default/dso_loader.cc:70] Could not load dynamic library \
'libcudnn.so.9'; dlerror: libcudnn.so.9: cannot open shared object file: No such file or directory; \
LD_LIBRARY_PATH: /usr/local/nvidia/lib64
2026-05-02 09:12:45.301127: I external/local_tsl/tsl/platform/default/dso_loader.cc:70] Could not load dynamic library \
'libcusolver.so.11'; dlerror: libcusolver.so.11: cannot open shared object file: No such file or directory
2026-05-02 09:12:45.301129: I external/local_tsl/tsl/platform/default/dso_loader.cc:70] Could not load dynamic library \
'libcudnn.so.9'; dlerror: libcudnn.so.9: cannot open shared object file: No such file or directory
2026-05-02 09:12:45.301130: I external/local_tsl/tsl/platform/default/dso_loader.cc:70] Could not load dynamic library \
'libnvinfer.so.8.6.1'; dlerror: libnvinfer.so.8.6.1: cannot open shared object file: No such file or directory
2026-05-02 09:12:45.301371: W tensorflow/core/common_runtime/gpu/gpu_device.cc:2343] Cannot dlopen some GPU libraries.
"""
NO_DEVICE = (
    "2026-05-02 09:12:44.190316: E external/local_xla/xla/stream_executor/cuda/cuda_driver.cc:152] failed call to "
    "cuInit: INTERNAL: CUDA error: Failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected\n"
)
DRIVERS = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n": "driver 535.104.05",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n": "driver 570.86.15",
}


def test_libraries_that_tensorflow_cannot_open_are_named_once() -> None:
    assert libraries_in(LOG) == ["libraries that cannot be opened: libcudnn.so.9 libcusolver.so.11"]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (NO_DEVICE, "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"),
        ("E cuda_driver.cc:266] failed call to cuInit: UNKNOWN ERROR (303)\n", "UNKNOWN ERROR (303)"),
    ],
)
def test_error_of_the_driver_is_named(line: str, cause: str) -> None:
    assert libraries_in(line) == [f"cuInit: {cause}"]


def test_log_without_a_cause_adds_nothing() -> None:
    assert libraries_in("2026-05-02 09:12:45: I tensorflow/core/platform/cpu_feature_guard.cc:210] optimized\n") == []


@pytest.mark.parametrize(("text", "version"), DRIVERS.items())
def test_version_of_the_driver_is_read_from_its_file(tmp_path: Path, text: str, version: str) -> None:
    (tmp_path / "version").write_text(text)
    assert driver(tmp_path / "version", "libnothere.so") == f"{version}, libnothere.so is not found"


def test_missing_driver_is_named(tmp_path: Path) -> None:
    assert driver(tmp_path / "version", "libnothere.so") == "no driver is loaded, libnothere.so is not found"


def test_newest_cuda_of_the_driver_is_asked_from_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        @staticmethod
        def cuDriverGetVersion(version: object) -> int:  # noqa: N802 - the name in CUDA
            version._obj.value = 12040  # type: ignore[attr-defined]
            return 0

    monkeypatch.setattr("ctypes.CDLL", lambda _name: Library)
    (tmp_path / "version").write_text(next(iter(DRIVERS)))
    assert driver(tmp_path / "version") == "driver 535.104.05 for CUDA 12.4"


def test_tensorflow_libraries_driver_and_image_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_diagnosis, "log_of_tensorflow", lambda _environ: LOG)
    monkeypatch.setattr(gpu_diagnosis, "driver", lambda: "driver 535.104.05 for CUDA 12.2")
    monkeypatch.setattr(gpu_diagnosis, "installed_versions", lambda: {"tensorflow": "2.18.1"})
    assert why_no_gpu({"is_cuda_build": True, "cuda_version": "12.5.1"}, {"MASKRCNN_IMAGE": "trainer:1-gpu"}) == (
        "tensorflow 2.18.1 for CUDA 12.5.1, libraries that cannot be opened: libcudnn.so.9 libcusolver.so.11, "
        "driver 535.104.05 for CUDA 12.2, image trainer:1-gpu"
    )


def test_cpu_image_is_named_without_a_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_diagnosis, "log_of_tensorflow", lambda _environ: pytest.fail("there is nothing to find"))
    monkeypatch.setattr(gpu_diagnosis, "driver", lambda: "driver 570.86.15")
    monkeypatch.setattr(gpu_diagnosis, "installed_versions", lambda: {"tensorflow-cpu": "2.18.1"})
    found = why_no_gpu({"is_cuda_build": False}, {"MASKRCNN_IMAGE": "trainer:1"})
    assert found == "tensorflow-cpu 2.18.1 without CUDA, driver 570.86.15, image trainer:1"
