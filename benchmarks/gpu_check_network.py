"""TensorFlow, network, and training step of the GPU check's stages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from gpu_check_plan import Options
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.spec import ExperimentSpec
from maskrcnn_trainer.task.cpus import usable_cpus
from maskrcnn_trainer.task.device import on_gpu
from maskrcnn_trainer.task.runtime import prepare_tensorflow
from maskrcnn_trainer.training.measured import Measured
from maskrcnn_trainer.training.settings import TrainSettings
from maskrcnn_trainer.training.step import TrainStep

GIBIBYTE = 2**30


def prepare(options: Options) -> None:
    """Configure TensorFlow as a training does, on the first GPU if there are any, and set TF32."""
    prepare_tensorflow(threads=usable_cpus(), deterministic=options.deterministic, seed=1, rewrite_cpu_graphs=False)
    tf.config.experimental.enable_tensor_float_32_execution(options.tf32)


def device() -> str:
    """Return GPU or CPU."""
    return "GPU" if on_gpu() else "CPU"


def build(options: Options, spec: ExperimentSpec) -> tuple[MaskRCNN, TrainStep]:
    """Return a network with random weights, and its training step."""
    architecture = Architecture.from_spec(spec)
    network = MaskRCNN(
        architecture,
        freeze_bn=options.freeze_bn,
        freeze_blocks=spec.maskrcnn_config.freeze_blocks,
        dtype=options.dtype,
        seed=1,
    )
    if options.freeze_bn:
        # Random kernels under statistics of 0 and 1 explode; this variance keeps activations near 1.
        for name, variable in network.named_variables.items():
            if name.endswith("moving_variance"):
                variable.assign(tf.fill(variable.shape, 4.0))
    size = spec.data_config.image_size
    anchors = generate_anchors(architecture, size)
    step = TrainStep(network, TrainSettings.from_spec(spec), anchors, size, jit_compile=options.xla)
    return network, step


def values_of(measured: Mapping[str, float], *names: str) -> dict[str, float]:
    """Return the values of a step's result by name, and wait for them; only ``names`` if there are any."""
    return {name: measured[name] for name in names or measured}


def peak_gib() -> float | None:
    """Return the largest memory of the GPU since the last call in GiB; None on a CPU."""
    if not on_gpu():
        return None
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return round(int(peak) / GIBIBYTE, 2)


@dataclass(frozen=True)
class Timed:
    """Times of a loop of steps.

    Attributes:
        seconds: of each step with its input.
        waiting: seconds of each step before its input was there.
        values: scalars of the last step.
    """

    seconds: list[float]
    waiting: list[float]
    values: dict[str, float]

    def result(self, batch: int) -> dict[str, Any]:
        """Return images/s over the whole loop, milliseconds of a step, and the share of the time without input."""
        total = sum(self.seconds)
        return {
            "images_s": round(batch * len(self.seconds) / total, 2),
            "median_ms": round(1e3 * float(np.median(self.seconds)), 1),
            "slowest_ms": [round(1e3 * one, 1) for one in sorted(self.seconds)[-3:]],
            "waiting_share": round(sum(self.waiting) / total, 4),
        }


def timed_steps(step: TrainStep, batches: Iterator[dict[str, tf.Tensor]], count: int) -> Timed:
    """Train ``count`` steps; as in a training the result of a step is read while the next one runs.

    The copy of a result waits for all work that the GPU was given before it. A thread therefore starts the copy right
    after the step, and the host waits for it once the GPU has the next step.
    """
    seconds, waiting = [], []
    measured: Measured | None = None
    before: Future[None] | None = None
    with ThreadPoolExecutor(1) as reader:
        for number in range(count):
            began = time.perf_counter()
            batch = next(batches)
            waiting.append(time.perf_counter() - began)
            measured = step(batch)
            copy = reader.submit(measured.read)
            if before is not None:
                before.result()
            before = copy
            if number == count - 1:
                copy.result()
            seconds.append(time.perf_counter() - began)
    return Timed(seconds, waiting, values_of(measured) if measured is not None else {})
