"""Choice of the GPU of a process, and errors if there are fewer GPUs than requested."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.variables import GPU_INDEX_VARIABLE, GPUS_VARIABLE

_MEBIBYTE = 2**20


@dataclass(frozen=True)
class GpuRequest:
    """GPUs that the user requested.

    Attributes:
        per_node: number of GPUs of the manifest's step; 0: none requested.
        indices: indices of the flag; empty without it.
    """

    per_node: int = 0
    indices: tuple[str, ...] = ()

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> GpuRequest:
        """Read the request from ``environ`` (default: the variables of this process)."""
        source = os.environ if environ is None else environ
        asked, indices = source.get(GPUS_VARIABLE, ""), source.get(GPU_INDEX_VARIABLE, "")
        per_node = int(asked) if asked.isascii() and asked.isdecimal() else 0
        return cls(per_node, tuple(indices.split(",")) if indices else ())


def own_gpu(visible: int, request: GpuRequest, *, local_rank: int) -> int | None:
    """Return the index of this process's GPU among the visible ones, or None to run on the CPU.

    Args:
        visible: number of GPUs that TensorFlow finds.
        request: GPUs that the user requested.
        local_rank: rank of this process on its node.

    Raises:
        InvalidInput: a GPU of ``--gpu-index`` is missing, ``gpusPerNode`` is set but there is no GPU, or this process
            would have to share a GPU with another.
    """
    if visible < len(request.indices):
        found = "no GPU" if not visible else f"{visible} of them"
        raise InvalidInput(
            f"--gpu_index {' '.join(request.indices)}: TensorFlow finds {found}; give indices of GPUs of this machine "
            "(nvidia-smi -L lists them, from 0), and check that its driver is new enough for this release",
            reason="NoGPU",
        )
    if request.per_node and not visible:
        raise InvalidInput(
            f"gpusPerNode {request.per_node}: TensorFlow finds no GPU; use the image for GPUs and a node "
            "whose driver supports its CUDA version, or leave gpusPerNode out to run on the CPU",
            reason="NoGPU",
        )
    if not visible:
        return None
    if local_rank >= visible:
        raise InvalidInput(
            f"process {local_rank} of this node has no GPU of its own: TensorFlow finds {visible}; start at most "
            f"{visible} process{'es' if visible > 1 else ''} per node",
            reason="NoGPU",
        )
    return local_rank


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
    return {"CUDA_VISIBLE_DEVICES": text, GPU_INDEX_VARIABLE: text}
