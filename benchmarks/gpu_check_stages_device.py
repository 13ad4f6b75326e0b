"""Stages of the GPU check for the device: GPUs, precision of products, XLA, libraries, and Horovod's operations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gpu_check_network import device, prepare
from gpu_check_plan import Options
from maskrcnn_trainer.task.cpus import usable_cpus
from maskrcnn_trainer.task.gpu_diagnosis import why_no_gpu
from maskrcnn_trainer.task.reporter import installed_versions

LIBRARIES = ("libcudart", "libcublas.", "libcublasLt", "libcudnn", "libcupti", "libnccl", "libcuda.")
ONE_PROCESS = {
    "HOROVOD_RANK": "0",
    "HOROVOD_SIZE": "1",
    "HOROVOD_LOCAL_RANK": "0",
    "HOROVOD_LOCAL_SIZE": "1",
    "HOROVOD_CROSS_RANK": "0",
    "HOROVOD_CROSS_SIZE": "1",
    "HOROVOD_CONTROLLER": "gloo",
    "HOROVOD_CPU_OPERATIONS": "gloo",
}


def gpus(_options: Options, say: Callable[..., None]) -> None:
    """Report the number of GPUs that TensorFlow finds; if there is none, the cause."""
    found = len(tf.config.list_physical_devices("GPU"))
    say(gpus=found, why="" if found else why_no_gpu(tf.sysconfig.get_build_info()))


def loaded_libraries() -> list[str]:
    """Return the paths of CUDA's libraries in this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {line.split()[-1] for line in lines if "/" in line}
    return sorted(path for path in paths if any(name in path for name in LIBRARIES))


def relative_error(value: tf.Tensor, expected: NDArray[Any]) -> float:
    """Return the norm of the difference divided by that of ``expected``."""
    return float(np.linalg.norm(value.numpy().astype(np.float64) - expected) / np.linalg.norm(expected))


def smoke(options: Options, say: Callable[..., None]) -> None:
    """Report devices, versions, and libraries, and the errors of a product and a convolution in each precision."""
    prepare(options)
    physical = tf.config.list_physical_devices("GPU")
    build = tf.sysconfig.get_build_info()
    say(
        device=device(),
        gpus=[tf.config.experimental.get_device_details(gpu) for gpu in physical],
        cpus=usable_cpus(),
        tensorflow=tf.__version__,
        cuda=build.get("cuda_version", ""),
        cudnn=build.get("cudnn_version", ""),
        versions=installed_versions(),
    )
    generator = np.random.default_rng(0)
    left, right = generator.normal(size=(2, 512, 512))
    image, kernel = generator.normal(size=(2, 32, 48, 32)), generator.normal(size=(3, 3, 32, 32)) / 17
    with tf.device("/CPU:0"):
        convolved = tf.nn.conv2d(tf.constant(image), tf.constant(kernel), 1, "SAME").numpy()
    for tf32, dtype in ((False, tf.float32), (True, tf.float32), (False, tf.float16)):
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        product = tf.matmul(tf.constant(left, dtype), tf.constant(right, dtype))
        maps = tf.nn.conv2d(tf.constant(image, dtype), tf.constant(kernel, dtype), 1, "SAME")
        say(
            precision=f"{dtype.name}{' with TF32' if tf32 else ''}",
            matmul_error=relative_error(product, left @ right),
            convolution_error=relative_error(maps, convolved),
        )
    compiled = tf.function(lambda a, b: tf.reduce_sum(tf.nn.relu(tf.matmul(a, b)) + 1.0), jit_compile=True)
    value = float(compiled(tf.constant(left, tf.float32), tf.constant(right, tf.float32)))
    say(xla=value, expected=float(np.sum(np.maximum(left @ right, 0) + 1)), libraries=loaded_libraries())


def horovod(options: Options, say: Callable[..., None]) -> None:
    """Average and broadcast in a group of one process, on the GPU through NCCL if Horovod has it."""
    os.environ.update(ONE_PROCESS)
    prepare(options)
    try:
        import horovod.tensorflow as hvd
    except ImportError as error:
        say(horovod=f"not installed: {error}")
        return
    hvd.init()
    gradients = [tf.random.normal([256, 1024], seed=one) for one in range(8)]
    averaged = tf.function(lambda tensors: hvd.grouped_allreduce(tensors, op=hvd.Average))(gradients)
    variable = tf.Variable(tf.ones([4]))
    hvd.broadcast_variables([variable], root_rank=0)
    say(
        horovod="installed",
        nccl=bool(hvd.nccl_built()),
        cuda=bool(hvd.cuda_built()),
        equal=all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(gradients, averaged, strict=True)),
        placed_on=averaged[0].device,
        libraries=loaded_libraries(),
    )
    hvd.shutdown()
