"""Stages of the GPU check for ROIAlign and NMS: each implementation alone, and its difference from the CPU's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple, get_args

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gpu_check_network import device, peak_gib, prepare
from gpu_check_plan import Options
from input_pipeline import rate
from maskrcnn_trainer.model import nms as suppression
from maskrcnn_trainer.model import roi_align as pooling
from roi_align import MAX_LEVEL, MIN_LEVEL, crop_and_pool, random_inputs

CHANNELS = 256
WARM = 3
PART = 8
"""Each time is measured for this part of ``seconds``: a stage has some twenty of them."""

Maps = dict[int, tf.Tensor]
Inputs = tuple[Maps, tf.Tensor]
Values = tuple[list[NDArray[Any]], list[NDArray[Any]]]
Pooling = Callable[[Maps, tf.Tensor], tf.Tensor]


def _on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    def placed(*arguments: Any) -> Any:
        with tf.device("/CPU:0"):
            return function(*arguments)

    return placed


def names_of(implementation: Any) -> list[str]:
    """Return the names that an argument ``implementation`` can have, except for auto."""
    return [name for name in get_args(implementation) if name != "auto"]


def reported(say: Callable[..., None], known: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
    """Print a measurement, or its error: some implementations have no kernel for a device."""
    try:
        say(**known, **measure(), peak_gib=peak_gib(), device=device())
    except (tf.errors.OpError, ValueError) as error:
        say(**known, error=f"{type(error).__name__}: {str(error)[:200]}", device=device())


def relative_difference(values: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """Return the largest difference, divided by the largest expected value."""
    largest = max(float(np.abs(one).max()) for one in expected)
    return max(float(np.abs(a - b).max()) for a, b in zip(values, expected, strict=True)) / max(largest, 1e-30)


def roi_align(options: Options, say: Callable[..., None]) -> None:
    """Measure forward and backward passes for the box head's and the mask head's sizes."""
    prepare(options)
    for size, rois in ((7, options.rois), (14, options.rois // 4)):
        inputs = random_inputs((options.height, options.width), options.batch, rois, CHANNELS)
        pools = {name: _pool(name, size) for name in names_of(pooling.Implementation)}
        pools["crop_and_resize"] = partial(crop_and_pool, size=size)
        expected = _values(next(iter(pools.values())), inputs, xla=False, cpu=True)
        for (name, pool), xla in product(pools.items(), (False, True)):
            known = {"roi_align": name, "xla": xla, "bins": size, "rois": rois, "batch": options.batch}
            measure = partial(_measured, pool, inputs, expected, seconds=options.seconds / PART, xla=xla)
            reported(say, known, measure)


def _measured(pool: Pooling, inputs: Inputs, expected: Values, *, seconds: float, xla: bool) -> dict[str, Any]:
    forward, backward = _values(pool, inputs, xla=xla)
    return {
        "forward_ms": _milliseconds(_forward(pool), inputs, seconds, xla=xla),
        "both_ms": _milliseconds(_backward(pool), inputs, seconds, xla=xla),
        "forward_differs": relative_difference(forward, expected[0]),
        "gradient_differs": relative_difference(backward, expected[1]),
    }


def _pool(name: str, size: int) -> Pooling:
    def pool(maps: Maps, boxes: tf.Tensor) -> tf.Tensor:
        return pooling.roi_align(maps, boxes, size, MIN_LEVEL, MAX_LEVEL, implementation=name)  # type: ignore[arg-type]

    return pool


def _forward(pool: Pooling) -> Callable[[Maps, tf.Tensor], list[tf.Tensor]]:
    return lambda maps, boxes: [pool(maps, boxes)]


def _backward(pool: Pooling) -> Callable[[Maps, tf.Tensor], list[tf.Tensor]]:
    def gradients(maps: Maps, boxes: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(maps)
            total = tf.reduce_sum(pool(maps, boxes) ** 2)
        return [tf.convert_to_tensor(one) for one in tape.gradient(total, list(maps.values()))]

    return gradients


def _values(pool: Pooling, inputs: Inputs, *, xla: bool, cpu: bool = False) -> Values:
    """Return pooled values and gradients of the maps, computed on the CPU if ``cpu``."""
    functions = (_forward(pool), _backward(pool))
    if cpu:
        functions = (_on_cpu(functions[0]), _on_cpu(functions[1]))
    forward, backward = (
        [one.numpy() for one in tf.function(function, jit_compile=xla or None, autograph=False)(*inputs)]
        for function in functions
    )
    return forward, backward


def _milliseconds(
    function: Callable[[Maps, tf.Tensor], list[tf.Tensor]], inputs: Inputs, seconds: float, *, xla: bool
) -> float:
    """Return the time of a call, at whose end one number that depends on all values is read."""
    total = tf.function(
        lambda maps, rois: tf.add_n([tf.reduce_sum(tf.abs(one)) for one in function(maps, rois)]),
        jit_compile=xla or None,
        autograph=False,
    )
    return round(1e3 / rate(lambda: total(*inputs).numpy(), seconds, WARM), 2)


def nms(options: Options, say: Callable[..., None]) -> None:
    """Measure NMS of a training's and an inference's proposals, and of detections by class."""
    prepare(options)
    count = options.proposals
    for groups, boxes, classes in ((5 * options.batch, 2 * count, 1), (5, count, 1), (1, count, options.classes - 1)):
        candidates = _candidates(options, groups, boxes, classes)
        expected = _keep(candidates, "loop", xla=False, cpu=True)()
        for name, xla in product(names_of(suppression.Implementation), (False, True)):
            known = {"nms": name, "xla": xla, "groups": groups, "boxes": boxes, "classes": classes}
            reported(say, known, partial(_kept, candidates, expected, name, seconds=options.seconds / PART, xla=xla))


class _Candidates(NamedTuple):
    boxes: tf.Tensor
    valid: tf.Tensor
    labels: tf.Tensor
    classes: int


def _candidates(options: Options, groups: int, count: int, classes: int) -> _Candidates:
    generator = np.random.default_rng(0)
    size = [options.height, options.width]
    sides = np.exp(generator.uniform(np.log(16), np.log(min(size) / 2), (groups, count, 2)))
    centers = generator.uniform(0, 1, (groups, count, 2)) * size
    boxes = tf.constant(np.concatenate([centers - sides / 2, centers + sides / 2], -1), tf.float32)
    labels = tf.constant(generator.integers(0, classes, (groups, count)), tf.int32)
    return _Candidates(boxes, tf.ones([groups, count], tf.bool), labels, classes)


def _keep(candidates: _Candidates, name: str, *, xla: bool, cpu: bool = False) -> Callable[[], NDArray[np.bool_]]:
    boxes, valid, labels, classes = candidates

    def keep(boxes: tf.Tensor, valid: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return suppression.greedy_nms(
            boxes,
            valid,
            0.7,
            max_output=int(boxes.shape[1]),
            classes=labels if classes > 1 else None,
            num_classes=classes,
            implementation=name,  # type: ignore[arg-type]
        )

    function = tf.function(_on_cpu(keep) if cpu else keep, jit_compile=xla or None, autograph=False)
    return lambda: np.asarray(function(boxes, valid, labels))


def _kept(
    candidates: _Candidates, expected: NDArray[np.bool_], name: str, *, seconds: float, xla: bool
) -> dict[str, Any]:
    run = _keep(candidates, name, xla=xla)
    return {"equal": bool(np.array_equal(run(), expected)), "ms": round(1e3 / rate(run, seconds, WARM), 2)}
