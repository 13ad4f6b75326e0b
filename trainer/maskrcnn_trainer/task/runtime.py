"""TensorFlow settings of a task: threads, GPU of this process, determinism, compute precision."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.version import version
from maskrcnn_trainer.task.device import gpu_name
from maskrcnn_trainer.task.gpu_diagnosis import why_no_gpu
from maskrcnn_trainer.task.gpus import GpuRequest, own_gpu
from maskrcnn_trainer.task.reporter import installed_versions

log = logging.getLogger(__name__)

BFLOAT16_CPU_FLAGS = ("amx_bf16", "avx512_bf16")

TF32_CAPABILITY = (8, 0)
"""First compute capability with TF32, that of Ampere; see NVIDIA's CUDA C++ Programming Guide."""


def prepare_tensorflow(
    *,
    threads: int,
    local_rank: int = 0,
    deterministic: bool = False,
    tf32: bool = True,
    seed: int = 0,
    rewrite_cpu_graphs: bool = True,
) -> None:
    """Configure TensorFlow; call this before any TensorFlow operation.

    Args:
        threads: CPU threads of this process.
        local_rank: index of this process's GPU among the visible ones.
        deterministic: make every operation deterministic, so that equal runs are bit-identical; slower.
        tf32: let GPUs that have TF32 multiply float32 values in it.
        seed: seed of random operations with a global state.
        rewrite_cpu_graphs: let TensorFlow rewrite functions before their first call on a CPU. Detection becomes about
            4% faster, a training step doesn't, and the rewriting takes half of the start-up time of a ResNet-50
            training. A GPU needs it for the layout of convolutions.

    Raises:
        InvalidInput: requested GPUs are missing, or several processes would share one.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # a GPU launches kernels from threads of its own, so that host operations never delay them; read when it is opened
    os.environ.setdefault("TF_GPU_THREAD_MODE", "gpu_private")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
    gpus = tf.config.list_physical_devices("GPU")
    own = own_gpu(
        len(gpus),
        GpuRequest.from_environ(),
        local_rank=local_rank,
        diagnose=lambda: why_no_gpu(tf.sysconfig.get_build_info()),
    )
    if own is not None:
        mine = gpus[own]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)
    elif not rewrite_cpu_graphs:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    tf.keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def describe_runtime(dtype: str, *, processes: int, threads: int) -> str:
    """Return a line with device, number of processes, threads, compute dtype, and versions.

    Args:
        dtype: the value of :func:`compute_dtype`.
        processes: number of processes of the worker group.
        threads: CPU threads of each process.
    """
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    device, number_format = "the CPU", dtype
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        if dtype == "float32" and _multiplies_in_tf32(details):
            number_format = "float32 (products in TF32)"
        # only rank 0 logs this line, and its GPU is the first
        device = gpu_name() or device
    versions = installed_versions()
    names = ("tensorflow", "tensorflow-cpu"), ("horovod",)
    found = [next((f"{these[0]} {versions[one]}" for one in these if one in versions), "") for these in names]
    each = "1 process" if processes == 1 else f"{processes} processes, each"
    return f"Running on {device}: {each} with {_count(threads, 'thread')}, {number_format}; " + ", ".join(
        [f"maskrcnn {version()}", *filter(None, found)]
    )


def _multiplies_in_tf32(details: Mapping[str, Any]) -> bool:
    """Return whether float32 products of a GPU are in TF32, given TensorFlow's details of the device."""
    import tensorflow as tf

    enabled: bool = tf.config.experimental.tensor_float_32_execution_enabled()
    return enabled and tuple(details.get("compute_capability", ())) >= TF32_CAPABILITY


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def compute_dtype(use_amp: bool) -> str:
    """Return the Keras dtype policy: with ``useAmp``, float16 on a GPU and bfloat16 on a CPU that supports it.

    A CPU without bfloat16 instructions emulates it, slower than float32, so ``useAmp`` is ignored there with a warning.
    """
    if not use_amp:
        return "float32"
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return "mixed_float16"
    flags = cpu_flags()
    if any(flag in flags for flag in BFLOAT16_CPU_FLAGS):
        return "mixed_bfloat16"
    flag_names = " or ".join(BFLOAT16_CPU_FLAGS)
    log.warning("useAmp is ignored: this CPU doesn't support bfloat16 (%s); training in float32", flag_names)
    return "float32"


def cpu_flags() -> frozenset[str]:
    """Return the instruction-set flags of the first CPU; empty if the system doesn't list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
