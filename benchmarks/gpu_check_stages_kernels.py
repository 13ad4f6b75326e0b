"""Stages of the GPU check that show where the time goes: kernels by their time, from TensorFlow's profiler."""

from __future__ import annotations

import itertools
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from gpu_check_data import batches_of, records_of, spec_of
from gpu_check_network import build, device, prepare, timed_steps
from gpu_check_plan import Options
from gpu_check_stages_inference import detector, random_images
from gpu_check_stages_train import settings

TRACED = 3
TOP = 40
LENGTH = 80
GPU_PLANE = "/device:GPU"
OPERATION = re.compile(r"[^:\s][^:]*:(?P<kind>_*[A-Z]\w*)")
"""Name of an event on the host for an operation, ``name:Kind``; events of the executor itself have another form."""

Times = dict[str, float]


def kernels(options: Options, say: Callable[..., None]) -> None:
    """Trace training steps with a fixed batch."""
    prepare(options)
    spec = spec_of(options, records_of(options))
    fixed = itertools.repeat(next(batches_of(spec)))
    _, step = build(options, spec)
    timed_steps(step, fixed, 1 + options.warm)
    report(say, options, lambda: timed_steps(step, fixed, TRACED), "training step")


def kernels_inference(options: Options, say: Callable[..., None]) -> None:
    """Trace detections in a batch."""
    prepare(options)
    detect, images = detector(options), random_images(options, options.batch)

    def detections(count: int) -> None:
        for _ in range(count):
            for part in detect(images):
                part.numpy()

    detections(1 + options.warm)
    report(say, options, lambda: detections(TRACED), "inference")


def report(say: Callable[..., None], options: Options, run: Callable[[], object], name: str) -> None:
    """Trace ``run``, which does TRACED steps, and print milliseconds and calls of a step by kernel."""
    with tempfile.TemporaryDirectory() as folder:
        choice = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=2, python_tracer_level=0, device_tracer_level=1
        )
        tf.profiler.experimental.start(folder, options=choice)
        began = time.perf_counter()
        run()
        wall = time.perf_counter() - began
        tf.profiler.experimental.stop()
        tables = dict(tables_of(Path(folder)))
    on_device = {name: one for name, one in tables.items() if name.startswith(GPU_PLANE)}
    for plane, (milliseconds, calls) in (on_device or tables).items():
        total = sum(milliseconds.values())
        top = sorted(milliseconds, key=lambda one: -milliseconds[one])[:TOP]
        say(
            traced=name,
            plane=plane,
            source="kernels on the GPU (CUPTI)" if on_device else "operations on the host (TensorFlow's executor)",
            device=device(),
            wall_ms=round(1e3 * wall / TRACED, 1),
            sum_ms=round(total, 1),
            calls=round(sum(calls.values())),
            top=[[one, round(calls[one], 1), round(milliseconds[one], 3), milliseconds[one] / total] for one in top],
            **settings(options),
        )


def tables_of(folder: Path) -> Iterator[tuple[str, tuple[Times, Times]]]:
    """Yield name, milliseconds, and calls of a step by kernel, for each plane of a trace that has any."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    for path in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace()
        space.ParseFromString(path.read_bytes())
        for plane in space.planes:
            milliseconds, calls = times_of(plane)
            if milliseconds:
                yield plane.name, (milliseconds, calls)


def times_of(plane: Any) -> tuple[Times, Times]:
    """Return milliseconds and calls of a step by kernel; on the host by kind of operation."""
    on_gpu = plane.name.startswith(GPU_PLANE)
    milliseconds: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, float] = defaultdict(float)
    for line in plane.lines:
        if on_gpu and not line.name.startswith("Stream"):  # other lines repeat the kernels by operation and step
            continue
        for event in line.events:
            name = plane.event_metadata[event.metadata_id].name
            if not on_gpu:
                operation = OPERATION.fullmatch(name)
                if operation is None:
                    continue
                name = operation["kind"]
            milliseconds[name[:LENGTH]] += event.duration_ps / 1e9 / TRACED
            calls[name[:LENGTH]] += 1 / TRACED
    return milliseconds, calls
