"""Training steps with and without XLA on the same batches, for test_step_xla.py.

Usage: xla_step.py OUTPUT

The compiled step averages over the ranks of Horovod, of which there is one. With TF_CPP_VMODULE set as in the test,
TensorFlow writes a line for each compilation; this script writes the number of each step. At last, a step is compiled
that is traced as where there is a GPU.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf
from rank_step import ARCHITECTURE, SETTINGS, half_batch

from maskrcnn_trainer.data.gpu_batches import sent_form, trained_form
from maskrcnn_trainer.model.anchors import generate_anchors
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training.schedule import Schedule
from maskrcnn_trainer.training.step import LOSSES, Average, TrainStep

SIDE = 32
SMALL = replace(ARCHITECTURE, max_level=5, mrcnn_resolution=8)
IMAGES_WITH_OBJECTS = (2, 0, 2, 1, 2, 2, 2)
"""For each step; the others have no foreground."""


def training_step(average: Average | None, *, jit_compile: bool = False) -> TrainStep:
    """Return a step that changes no weight, so that all steps can be compared."""
    settings = replace(SETTINGS, schedule=Schedule(init_learning_rate=0.0), mask_resolution=8)
    network = MaskRCNN(SMALL, freeze_bn=True, seed=5)
    anchors = generate_anchors(SMALL, (SIDE, SIDE))
    return TrainStep(network, settings, anchors, (SIDE, SIDE), average=average, jit_compile=jit_compile)


class SmoothBatches:
    """Batches at which the gradients are smooth.

    At the others a ReLU has an input so close to zero that its rounding decides whether it has a gradient, and a change
    of the images by a millionth changes a gradient tensor by a hundredth.
    """

    def __init__(self, plain: TrainStep) -> None:
        self._plain = plain
        self._generator = np.random.default_rng(0)
        self._seeds = itertools.count()

    def next_of(self, make: Callable[[int], dict[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
        """Return a batch that ``make`` returns for a seed."""
        batches = map(make, self._seeds)
        return next(batch for batch in batches if is_smooth(self._plain, trained_form(batch), self._generator))


def batch_of(seed: int, images_with_objects: int) -> dict[str, tf.Tensor]:
    halves = [half_batch(2 * seed + part, SMALL, SIDE) for part in range(2)]
    for half in halves[images_with_objects:]:
        half["gt_boxes"], half["gt_classes"] = tf.fill([1, 3, 4], -1.0), tf.fill([1, 3], -1)
    return {name: tf.concat([half[name] for half in halves], axis=0) for name in halves[0]}


def batch_for_a_gpu(seed: int) -> dict[str, tf.Tensor]:
    """Return a batch of rounded pixels with padding, in the types in which it is sent to a GPU."""
    height, width = SIDE - 8, SIDE - 4
    pixels = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    pixels[:, :height, :width] = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3))
    info = tf.constant([[height, width, 1, height, width]] * 2, tf.float32)
    return sent_form({**batch_of(seed, 2), "images": tf.constant(pixels), "image_info": info})


def is_smooth(plain: TrainStep, batch: dict[str, tf.Tensor], generator: np.random.Generator) -> bool:
    _, here = plain._gradients(batch, tf.constant(1.0))
    for _ in range(6):
        noise = 1.0 + 1e-5 * generator.standard_normal(batch["images"].shape)
        _, near = plain._gradients({**batch, "images": batch["images"] * noise.astype(np.float32)}, tf.constant(1.0))
        if max(difference(one.numpy(), other.numpy()) for one, other in zip(near, here, strict=True)) > 1e-3:
            return False
    return True


def operations_of(step: TrainStep, batch: dict[str, tf.Tensor]) -> tuple[set[str], set[str]]:
    """Return the types of the operations of a step that XLA compiles, and of the others."""
    arguments = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in batch.items()}
    graph = step._run.get_concrete_function(arguments, tf.TensorSpec([0], tf.float32)).graph.as_graph_def()
    library = {one.signature.name: one for one in graph.library.function}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    seen = set()

    def walk(nodes: Any, inside: bool) -> None:
        for node in nodes:
            found[inside].add(node.op)
            values = list(node.attr.values())
            for name in {name for value in values for name in (value.func.name, *(f.name for f in value.list.func))}:
                if name in library:
                    within = inside or any(must_compile(one.attr) for one in (node, library[name]))
                    if (name, within) not in seen:
                        seen.add((name, within))
                        walk(library[name].node_def, within)

    walk(graph.node, False)
    return found[True], found[False]


def must_compile(attributes: Any) -> bool:
    return "_XlaMustCompile" in attributes and bool(attributes["_XlaMustCompile"].b)


def traced_for_a_gpu(step: TrainStep, batch: dict[str, tf.Tensor]) -> Callable[..., Any]:
    """Return forward and backward pass of a step, traced as where there is a GPU."""
    listed, gpu = tf.config.list_logical_devices, tf.config.LogicalDevice("/device:GPU:0", "GPU")
    with mock.patch.object(
        tf.config, "list_logical_devices", lambda kind=None: [gpu] if kind == "GPU" else listed(kind)
    ):
        return step._gradients.get_concrete_function(batch, tf.constant(1.0))


def types_of(function: Any, operation: str, argument: int) -> list[str]:
    """Return the types of an argument of all operations of a kind, outside of loops and branches."""
    found = [one.inputs[argument] for one in function.graph.get_operations() if one.type == operation]
    return sorted({tensor.dtype.name for tensor in found})


class RecordedAverage:
    """Means over the ranks of Horovod, with a copy of the gradients before they are reduced."""

    def __init__(self) -> None:
        self.reduced: list[tf.Variable] = []

    def __call__(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        for variable, tensor in zip(self.reduced, tensors, strict=False):
            variable.assign(tensor)
        return list(hvd.grouped_allreduce(tensors, op=hvd.Average))


def values_of(result: tuple[tf.Tensor, list[tf.Tensor]]) -> list[Any]:
    """Return the losses and the gradients of a forward and backward pass."""
    measured, gradients = result
    return [*measured.numpy()[: len(LOSSES)], *(one.numpy() for one in gradients)]


def difference(ours: Any, theirs: Any) -> float:
    """Return the largest difference, relative to the largest value."""
    largest = float(np.abs(theirs).max())
    return float(np.abs(ours - theirs).max()) / largest if largest else float(np.abs(ours).max())


def main() -> None:
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    hvd.init()
    plain = training_step(None)
    average = RecordedAverage()
    compiled = training_step(average, jit_compile=True)
    average.reduced = [tf.Variable(variable) for variable in compiled._variables]
    smooth = SmoothBatches(plain)
    batches = [smooth.next_of(functools.partial(batch_of, images_with_objects=some)) for some in IMAGES_WITH_OBJECTS]
    inside, outside = operations_of(compiled, batches[0])
    names = [*LOSSES, *(plain.network.variable_name(variable) for variable in plain._variables)]
    differences, foreground = [], []
    for number, batch in enumerate(batches, start=1):
        plain_result = plain._gradients(batch, tf.constant(1.0))
        measured = compiled(batch)
        sys.stderr.write(f"step {number} done\n")
        foreground.append(int(measured["foreground_rois"]))
        ours = [*(measured[name] for name in LOSSES), *(one.numpy() for one in average.reduced)]
        differences.append([difference(*pair) for pair in zip(ours, values_of(plain_result), strict=True)])
    sys.stderr.write("all steps done\n")
    sent, scale = smooth.next_of(batch_for_a_gpu), tf.constant(1.0)
    for_gpu = traced_for_a_gpu(training_step(None, jit_compile=True), sent)
    ours, theirs = values_of(for_gpu(sent, scale)), values_of(plain._gradients(trained_form(sent), scale))
    np.savez(
        sys.argv[1],
        inside=sorted(inside),
        outside=sorted(outside),
        names=names,
        differences=differences,
        foreground=foreground,
        differences_for_gpu=[difference(*pair) for pair in zip(ours, theirs, strict=True)],
        products_for_gpu=types_of(for_gpu, "BatchMatMulV2", 0),
        indices_for_gpu=types_of(for_gpu, "GatherV2", 1),
    )
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
