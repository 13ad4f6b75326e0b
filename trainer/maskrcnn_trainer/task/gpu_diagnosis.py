"""Causes of a GPU that TensorFlow doesn't find: libraries, driver, and image.

TensorFlow names a library that it can't open only in its verbose log, whose level is fixed when it is loaded. Therefore
a second process looks for GPUs with that log.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from maskrcnn_trainer.shared.variables import IMAGE_VARIABLE
from maskrcnn_trainer.task.reporter import installed_versions

DRIVER_FILE = Path("/proc/driver/nvidia/version")
DRIVER_LIBRARY = "libcuda.so.1"
_SECONDS = 120.0
_LOOK_FOR_GPUS = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
_LOG_LEVEL = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "dso_loader=1"}
_NOT_OPENED = re.compile(r"Could not load dynamic library '([^']+)'")
_NOT_USED = re.compile(
    r"failed call to cuInit: (?:INTERNAL: )?(?:CUDA error: (?:Failed call to cuInit: )?)?([^\n]+)", re.I
)
_DRIVER_VERSION = re.compile(r"Kernel Module\s+(?:for \S+\s+)?(\d+\.\d[\d.]*)")


def why_no_gpu(build: Mapping[str, object], environ: Mapping[str, str] | None = None) -> str:
    """Return what can be the cause of a missing GPU, in one phrase.

    Args:
        build: ``tf.sysconfig.get_build_info()``.
        environ: default: the variables of this process.
    """
    source = os.environ if environ is None else environ
    parts = [_tensorflow(build)]
    if build.get("is_cuda_build"):
        parts += libraries_in(log_of_tensorflow(source))
    parts.append(driver())
    if image := source.get(IMAGE_VARIABLE):
        parts.append(f"image {image}")
    return ", ".join(parts)


def _tensorflow(build: Mapping[str, object]) -> str:
    versions = installed_versions()
    name = next((name for name in ("tensorflow-cpu", "tensorflow") if name in versions), "tensorflow")
    cuda = f"for CUDA {build.get('cuda_version', '')}" if build.get("is_cuda_build") else "without CUDA"
    return f"{name} {versions.get(name, '')} {cuda}".replace("  ", " ")


def log_of_tensorflow(environ: Mapping[str, str]) -> str:
    """Return the verbose log of TensorFlow when it looks for GPUs; empty if that takes too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LOOK_FOR_GPUS],
            env={**environ, **_LOG_LEVEL},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stderr


def libraries_in(log: str) -> list[str]:
    """Return phrases for the libraries that couldn't be opened, and for the driver's error, from TensorFlow's log."""
    # TensorFlow finds GPUs without TensorRT, too
    names = [name for name in dict.fromkeys(_NOT_OPENED.findall(log)) if not name.startswith("libnvinfer")]
    found = [f"libraries that cannot be opened: {' '.join(names)}"] if names else []
    refused = _NOT_USED.search(log)
    return [*found, f"cuInit: {refused[1].strip()}"] if refused else found


def driver(file: Path = DRIVER_FILE, library: str = DRIVER_LIBRARY) -> str:
    """Return the version of NVIDIA's driver and of the newest CUDA that it supports, in one phrase."""
    try:
        found = _DRIVER_VERSION.search(file.read_text())
    except OSError:
        found = None
    kernel = f"driver {found[1]}" if found else "no driver is loaded"
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL(library).cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return f"{kernel}, {library} is not found"
    return kernel if failed else f"{kernel} for CUDA {version.value // 1000}.{version.value % 1000 // 10}"
