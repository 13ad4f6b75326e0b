"""TensorFlow made ready for a task: threads, the GPU of this process, determinism, the width of numbers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

BFLOAT16_CPU_FLAGS = ("amx_bf16", "avx512_bf16")


def prepare_tensorflow(
    *, threads: int, local_rank: int = 0, deterministic: bool = False, seed: int = 0, rewrite_cpu_graphs: bool = True
) -> None:
    """Sets TensorFlow up; must come before anything of it ran.

    Args:
        threads: CPU threads of this process.
        local_rank: which of the visible GPUs is ours.
        deterministic: make every operation deterministic: slower, and equal runs give equal bits.
        seed: of whatever is still drawn statefully.
        rewrite_cpu_graphs: let TensorFlow rewrite functions before their first call on a CPU. It makes detection some
            4% faster and a training step no faster, and costs a ResNet-50's step half of its start. A GPU needs it for
            the layout of convolutions.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(max(2, threads))
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        mine = gpus[local_rank % len(gpus)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)
    elif not rewrite_cpu_graphs:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    tf.keras.utils.set_random_seed(seed)
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def compute_dtype(use_amp: bool) -> str:
    """What convolutions and dense layers compute in: float16 with ``useAmp`` on a GPU, bfloat16 on a CPU that has it.

    A CPU without bfloat16 instructions would only emulate it, slower than float32, so ``useAmp`` is noted and ignored.
    """
    if not use_amp:
        return "float32"
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        return "mixed_float16"
    flags = cpu_flags()
    if any(flag in flags for flag in BFLOAT16_CPU_FLAGS):
        return "mixed_bfloat16"
    log.warning("useAmp: this CPU computes no bfloat16 (%s); training in float32", " or ".join(BFLOAT16_CPU_FLAGS))
    return "float32"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of the first CPU; empty where the system does not tell."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
