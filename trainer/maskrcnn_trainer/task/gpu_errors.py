"""Errors of CUDA, cuDNN, cuBLAS, and NCCL in messages of TensorFlow, Horovod, and ONNX Runtime, and what each means.

TensorFlow names an error of the driver (``CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered``), and
Horovod and ONNX Runtime only describe it (``ncclAllReduce failed: invalid usage (run with NCCL_DEBUG=WARN for
details)``; ``CUDA failure 214: uncorrectable ECC error encountered``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain


class GpuErrorCause(Enum):
    """Cause of an error, which decides whether the task is tried again."""

    DEVICE = "the GPU or its driver failed"
    MISUSE = "the processes, the GPU, or the installation don't fit"
    LIBRARY = "any other error of a library"


@dataclass(frozen=True)
class GpuError:
    """One row of the table.

    Attributes:
        library: library that reports the error.
        cause: what it means.
        words: pattern of its message, which is searched without regard to case.
        advice: what a user can do.
    """

    library: str
    cause: GpuErrorCause
    words: re.Pattern[str]
    advice: str

    def to_error(self, line: str) -> TaskError:
        """Return the error to raise.

        Args:
            line: line of the message that has the words.
        """
        name = self.library.capitalize()
        if self.cause is GpuErrorCause.DEVICE:
            return TryAgain(f"the GPU or its driver failed ({line}); {self.advice}", reason="DeviceFailed")
        if self.cause is GpuErrorCause.MISUSE:
            return InvalidInput(f"{self.library} refuses to run ({line}); {self.advice}", reason=f"{name}Refused")
        return TaskError(f"{self.library} failed ({line}); {self.advice}", reason=f"{name}Failed")


def _row(library: str, cause: GpuErrorCause, words: str, advice: str) -> GpuError:
    return GpuError(library, cause, re.compile(words, re.IGNORECASE), advice)


_REPLACE = "another attempt may get another GPU; if it happens again, check this one with nvidia-smi -q and dmesg"
_PLACEMENT = "a frequent cause is more processes than GPUs on a node: lower --gpus, or gpusPerNode and processesPerNode"
_DRIVER = "use a GPU that images/README.md lists, and a driver that is new enough for the image's CUDA version"
_CUDNN_VERSION = "use the cuDNN that the image installs: unset LD_LIBRARY_PATH, or remove the other cuDNN"
_XLA_FILES = (
    "compiling needs ptxas and libdevice of the package nvidia-cuda-nvcc-cu12, next to TensorFlow: use the image for "
    "GPUs, or set xla to false"
)
_NCCL_DEBUG = "set NCCL_DEBUG=INFO (podOverrides.env) to log the cause"
_START = (
    "the lines above name the cause; a frequent one is memory that another process on this GPU holds (nvidia-smi lists "
    "them)"
)

GPU_ERRORS = (
    # https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html: names, and the texts of cuGetErrorString
    _row(
        "CUDA",
        GpuErrorCause.DEVICE,
        r"CUDA_ERROR_(ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE|DEVICE_UNAVAILABLE|DEVICE_LOST|HARDWARE_STACK_ERROR"
        r"|CONTAINED|SYSTEM_NOT_READY|NO_DEVICE|UNKNOWN)\b"
        r"|uncorrectable (ECC|NVLink) error|device\(s\) is/are busy or unavailable|hardware stack error"
        r"|hardware error\b|system not yet initialized|GPU is lost|device (is )?lost|fallen off the bus"
        r"|no CUDA-capable device"
        r"|\bcuda\w+ failed: unknown error|CUDA failure 999\b",
        _REPLACE,
    ),
    _row("NCCL", GpuErrorCause.MISUSE, r"duplicate gpu detected|nccl.*(invalid usage|invalid argument)", _PLACEMENT),
    _row(
        "CUDA",
        GpuErrorCause.MISUSE,
        r"CUDA_ERROR_(NO_BINARY_FOR_GPU|INVALID_PTX|UNSUPPORTED_PTX_VERSION|SYSTEM_DRIVER_MISMATCH"
        r"|COMPAT_NOT_SUPPORTED_ON_DEVICE)\b"
        r"|no kernel image is available|PTX was compiled with an unsupported|driver version is insufficient"
        r"|unsupported display driver / cuda driver combination",
        _DRIVER,
    ),
    _row("CUDA", GpuErrorCause.MISUSE, r"CUDA_ERROR_INVALID_DEVICE\b|invalid device ordinal", _PLACEMENT),
    # https://openxla.org/xla/flags_guidance, --xla_gpu_cuda_data_dir: the directory of both
    _row(
        "XLA",
        GpuErrorCause.MISUSE,
        r"libdevice(\.10\.bc)? (is )?(required|not found)|libdevice not found|JIT compilation failed"
        r"|(couldn't|cannot|could not|can't|failed to) [^.]*ptxas|ptxas [^.]*(not found|too old|returned an error)"
        r"|no PTX compilation provider",
        _XLA_FILES,
    ),
    # https://docs.nvidia.com/deeplearning/cudnn/latest/api/cudnn-graph-library.html#cudnnstatus-t
    _row(
        "cuDNN",
        GpuErrorCause.MISUSE,
        r"Loaded runtime CuDNN library.*compiled with|CUDNN_STATUS_(VERSION_MISMATCH|SUBLIBRARY_VERSION_MISMATCH"
        r"|SUBLIBRARY_LOADING_FAILED|SERIALIZATION_VERSION_MISMATCH|RUNTIME_PREREQUISITE_MISSING|LICENSE_ERROR)\b",
        _CUDNN_VERSION,
    ),
    _row("cuDNN", GpuErrorCause.MISUSE, r"CUDNN_STATUS_(NOT_SUPPORTED_)?ARCH_MISMATCH\b", _DRIVER),
    # https://docs.nvidia.com/cuda/cublas/#cublasstatus-t
    _row("cuBLAS", GpuErrorCause.MISUSE, r"CUBLAS_STATUS_ARCH_MISMATCH\b", _DRIVER),
    # https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api/types.html#ncclresult-t
    _row("NCCL", GpuErrorCause.LIBRARY, r"nccl.*(unhandled (cuda|system) error|internal error)", _NCCL_DEBUG),
    _row(
        "cuDNN", GpuErrorCause.LIBRARY, r"CUDNN_STATUS_\w+|DNN library (is not found|initialization failed)", _START
    ),
    _row("cuBLAS", GpuErrorCause.LIBRARY, r"CUBLAS_STATUS_\w+|without BLAS support", _START),
    _row(
        "CUDA",
        GpuErrorCause.LIBRARY,
        r"\bCUDA_ERROR_\w+|CUDA failure \d+|\bcuda\w+ failed: ",
        "set CUDA_LAUNCH_BLOCKING=1 (podOverrides.env) to log the operation that fails",
    ),
)  # fmt: skip
"""Errors by their messages; the first row that matches counts. Errors for lack of memory are found before."""


def gpu_error(message: str) -> TaskError | None:
    """Return the error to raise for a message of TensorFlow, Horovod, or ONNX Runtime; None if no row matches it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    for row in GPU_ERRORS:
        for line in lines:
            if row.words.search(line):
                return row.to_error(line[:300])
    return None
