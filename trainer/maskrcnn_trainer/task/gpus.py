"""Choice of the GPU of a process, and errors if there are fewer GPUs than requested."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.nvidia import gpus_are_hidden, has_nvidia_device
from maskrcnn_trainer.shared.variables import (
    CUDA_VISIBLE_DEVICES,
    FINGERPRINT_VARIABLE,
    GPU_INDEX_VARIABLE,
    GPUS_VARIABLE,
    NO_GPU_VARIABLES,
    WORKSPACE_VARIABLE,
)

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class GpuRequest:
    """GPUs that the user requested.

    Attributes:
        number: number of GPUs of this node; 0: none requested.
        indices: indices of ``--gpu-index``; empty without it.
        field: field or flag with the number.
        in_pod: whether a step runs in an image, and not on the machine of ``maskrcnn-operator run``.
    """

    number: int = 0
    indices: tuple[str, ...] = ()
    field: str = "gpusPerNode"
    in_pod: bool = True

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> GpuRequest:
        """Read the request from ``environ`` (default: the variables of this process).

        A user who hides all GPUs from CUDA has chosen the CPU and requests nothing.

        Raises:
            InvalidInput: the number isn't a whole number.
        """
        source = os.environ if environ is None else environ
        if gpus_are_hidden(source):
            return cls()
        asked, indices = source.get(GPUS_VARIABLE, ""), source.get(GPU_INDEX_VARIABLE, "")
        if asked and not (asked.isascii() and asked.isdecimal()):
            raise InvalidInput(f"{GPUS_VARIABLE} {asked!r}: must be a whole number, such as 1; the executor sets it")
        number = int(asked or 0)
        # both executors set the fingerprint, and read the number from the manifest
        field = "gpusPerNode" if source.get(FINGERPRINT_VARIABLE) else "--gpus"
        return cls(number, tuple(indices.split(",")) if indices else (), field, in_pod=WORKSPACE_VARIABLE not in source)

    @property
    def given(self) -> str:
        """The request as the user wrote it, such as ``gpusPerNode 2``; empty if there is none."""
        if self.indices:
            return f"--gpu_index {' '.join(self.indices)}"
        return f"{self.field} {self.number}" if self.number else ""

    @property
    def least(self) -> int:
        """Number of GPUs that this process must see."""
        return max(self.number, len(self.indices))


def own_gpu(
    visible: int, request: GpuRequest, *, local_rank: int, diagnose: Callable[[], str] | None = None
) -> int | None:
    """Return the index of this process's GPU among the visible ones, or None to run on the CPU.

    Args:
        visible: number of GPUs that TensorFlow finds.
        request: GPUs that the user requested.
        local_rank: rank of this process on its node.
        diagnose: returns what can be the cause of a missing GPU; only called for the first process of a node.

    Raises:
        InvalidInput: fewer GPUs are visible than the user requested, or this process would have to share a GPU with
            another.
    """
    if visible < request.least:
        raise InvalidInput(
            f"{request.given}: TensorFlow finds {_count(visible)}"
            + (f" ({diagnose()})" if diagnose is not None and local_rank == 0 else "")
            + f"; {_advice(visible, request)}",
            reason="MissingDevice",
        )
    if not visible:
        return None
    if local_rank >= visible:
        raise InvalidInput(
            f"process {local_rank} of this node has no GPU of its own: TensorFlow finds {visible}; start at most "
            f"{visible} process{'es' if visible > 1 else ''} per node, or set CUDA_VISIBLE_DEVICES=-1 to run on the "
            "CPUs",
            reason="MissingDevice",
        )
    return local_rank


def _count(visible: int) -> str:
    return "no GPU" if not visible else f"{visible} GPU{'s' if visible > 1 else ''}"


def _advice(visible: int, request: GpuRequest) -> str:
    if request.indices and visible:
        return "give indices of GPUs of this machine (nvidia-smi -L lists them, from 0)"
    if request.indices:
        return "install what is missing, or leave the flag out to run on the CPU"
    if visible:
        return f"request at most {visible}{' (a process sees only one MIG instance)' if visible == 1 else ''}"
    if request.field == "gpusPerNode" and request.in_pod:
        return (
            "use the image for GPUs and a node whose driver supports its CUDA version, or leave gpusPerNode out to run "
            "on the CPU"
        )
    return "install what is missing, or set CUDA_VISIBLE_DEVICES=-1 to run on the CPU"


def request_gpus(number: int) -> None:
    """Require this number of GPUs of this process and its children, if this machine has an NVIDIA device.

    Without such a device ``--gpus`` is the number of processes that share the CPUs.
    """
    if has_nvidia_device() and not gpus_are_hidden():
        os.environ[GPUS_VARIABLE] = str(number)


def hide_gpus() -> None:
    """Keep this process from opening a GPU; call this before TensorFlow is loaded."""
    os.environ[CUDA_VISIBLE_DEVICES] = NO_GPU_VARIABLES[CUDA_VISIBLE_DEVICES]


def memory_of_gpu(index: int) -> int | None:
    """Return the memory in bytes of a visible GPU according to the CUDA driver, or None."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        device, size = ctypes.c_int(), ctypes.c_size_t()
        failed = (
            cuda.cuInit(0)
            or cuda.cuDeviceGet(ctypes.byref(device), index)
            or cuda.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        )
    except (OSError, AttributeError):
        return None
    return None if failed else size.value


def described(name: str, size: int | None) -> str:
    """Return ``NVIDIA H100 80GB HBM3 (81,559 MiB)``."""
    return name if size is None else f"{name} ({size // _MEBIBYTE:,} MiB)"


def index_variable(indices: Sequence[int]) -> dict[str, str]:
    """Return the environment variables that pass the GPUs of ``--gpu-index`` to the processes."""
    text = ",".join(map(str, indices))
    return {CUDA_VISIBLE_DEVICES: text, GPU_INDEX_VARIABLE: text}
