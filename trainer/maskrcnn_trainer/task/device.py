"""The device that this process computes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from maskrcnn_trainer.task.gpus import described, memory_of_gpu

if TYPE_CHECKING:
    import tensorflow as tf

CPUINFO = Path("/proc/cpuinfo")


def device_name() -> str:
    """Return the name of the GPU of this process, with its memory, or of the CPU, once TensorFlow is set up."""
    return gpu_name() or cpu_name()


def gpu_name() -> str | None:
    """Return the name of the GPU of this process, with its memory; None if it has none."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return None
    details = tf.config.experimental.get_device_details(gpus[0])
    return described(str(details.get("device_name", "a GPU")), memory_of_gpu(0))


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Return the model name of the CPU; ``CPU`` if the kernel has none, as on most ARM machines.

    Args:
        cpuinfo: the kernel's description of the CPUs.
    """
    try:
        found = re.search(r"^model name\s*: *(\S.*?)\s*$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else "CPU"


def on_gpu() -> bool:
    """Return whether TensorFlow places this process's operations on a GPU.

    Functions that choose between implementations call this while they are traced, so that a test can trace them as on a
    machine with a GPU by replacing ``tf.config.list_logical_devices``.
    """
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def index_dtype() -> tf.DType:
    """Return the integer type of index arithmetic: int64 on a GPU, where TensorFlow computes int32 on the host."""
    import tensorflow as tf

    return tf.int64 if on_gpu() else tf.int32
