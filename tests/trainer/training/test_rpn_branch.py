"""RPN losses at cells with a target, compared with the losses of the whole maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.model.anchors import anchors_per_level
from maskrcnn_trainer.model.architecture import Architecture
from maskrcnn_trainer.model.network import MaskRCNN
from maskrcnn_trainer.training import losses
from maskrcnn_trainer.training.rpn_branch import rpn_losses_at_targets

pytestmark = pytest.mark.trainer

IMAGE_SIZE = (64, 128)
ARCHITECTURE = Architecture(nlayers=10, num_classes=3, fast_rcnn_mlp_head_dim=16, mrcnn_resolution=8)
LEVEL_SIZES = list(anchors_per_level(ARCHITECTURE, IMAGE_SIZE).values())
ANCHORS = sum(LEVEL_SIZES)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    net = MaskRCNN(ARCHITECTURE, seed=3)
    generator = np.random.default_rng(4)
    for name, variable in net.named_variables.items():
        if name.startswith("rpn"):
            variable.assign(generator.normal(scale=0.1, size=variable.shape))
    return net


def corners_and_some(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and targets of a few anchors, including those in all corners of the finest and the coarsest map."""
    labels = np.where(generator.random((2, ANCHORS)) < 0.02, generator.integers(0, 2, (2, ANCHORS)), -1)
    per_cell = ARCHITECTURE.num_anchors_per_cell
    labels[:, [0, 32 * per_cell - 1, 15 * 32 * per_cell, LEVEL_SIZES[0] - 1, -1, -per_cell]] = 1
    targets = np.where((labels == 1)[..., None], generator.normal(size=(2, ANCHORS, 4)), 0.0)
    # Matched anchors count for the box loss even if they are not sampled for the score loss.
    labels[:, 1::7] = -1
    return labels.astype(np.int32), targets.astype(np.float32)


def nothing(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return np.full((2, ANCHORS), -1, np.int32), np.zeros((2, ANCHORS, 4), np.float32)


def whole_maps(network: MaskRCNN, features: dict[int, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply the head as convolutions at every cell: logits [B, A] and deltas [B, A, 4] in anchor order."""
    shared, classes, boxes = (network.layers[name] for name in ("rpn", "rpn-class", "rpn-box"))
    hidden = [shared(features[level]) for level in sorted(features)]
    logits = tf.concat([tf.reshape(classes(one), (2, -1)) for one in hidden], 1)
    return logits, tf.concat([tf.reshape(boxes(one), (2, -1, 4)) for one in hidden], 1)


@pytest.mark.parametrize("targets_of", [corners_and_some, nothing])
def test_losses_and_gradients_are_those_of_the_whole_maps(network: MaskRCNN, targets_of: object) -> None:
    generator = np.random.default_rng(5)
    labels, targets = targets_of(generator)  # type: ignore[operator]
    features = {
        level: tf.constant(generator.normal(size=(2, 64 >> level, 128 >> level, 256)), tf.float32)
        for level in ARCHITECTURE.levels
    }
    weights = [v for v in network.trainable_variables if network.variable_name(v).startswith("rpn")]
    assert len(weights) == 6

    @tf.function(autograph=False)
    def compute(at_targets: bool) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            if at_targets:
                found = rpn_losses_at_targets(
                    network, features, tf.constant(labels), tf.constant(targets), LEVEL_SIZES, anchors_per_image=32
                )
            else:
                logits, deltas = whole_maps(network, features)
                found = (
                    losses.rpn_score_loss(logits, tf.constant(labels), batch_size=2, anchors_per_image=32),
                    losses.rpn_box_loss(deltas, tf.constant(targets), LEVEL_SIZES),
                )
            total = found[0] + 2.0 * found[1]
        gradients = tape.gradient(total, [*weights, *features.values()])
        return list(found), [tf.convert_to_tensor(gradient) for gradient in gradients]

    values, gradients = compute(True)
    wanted_values, wanted_gradients = compute(False)
    np.testing.assert_allclose(values, wanted_values, rtol=1e-5)
    assert (float(values[1]) > 0.0) == (targets_of is corners_and_some)
    for ours, theirs in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * (float(np.abs(theirs).max()) + 1e-8))


def test_losses_and_gradients_for_a_gpu_are_those_of_the_cpu(
    network: MaskRCNN, on_cpu_and_for_gpu: Callable[[Callable[[], Any]], tuple[Any, Any]]
) -> None:
    generator = np.random.default_rng(6)
    labels, targets = corners_and_some(generator)
    features = {
        level: tf.constant(generator.normal(size=(2, 64 >> level, 128 >> level, 256)), tf.float32)
        for level in ARCHITECTURE.levels
    }

    def compute() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            found = rpn_losses_at_targets(
                network, features, tf.constant(labels), tf.constant(targets), LEVEL_SIZES, anchors_per_image=32
            )
            total = found[0] + found[1]
        gradients = tape.gradient(total, list(features.values()))
        return [*found, *(tf.convert_to_tensor(gradient) for gradient in gradients)]

    on_cpu, for_gpu = on_cpu_and_for_gpu(compute)
    for ours, theirs in zip(for_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_cells_are_found_without_the_features(network: MaskRCNN) -> None:
    """A GPU's host reads their number, for which it would otherwise wait until the features are computed."""
    features = {level: tf.TensorSpec([2, 64 >> level, 128 >> level, 256], tf.float32) for level in ARCHITECTURE.levels}

    @tf.function(autograph=False)
    def compute(features: dict[int, tf.Tensor], labels: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return rpn_losses_at_targets(network, features, labels, targets, LEVEL_SIZES, anchors_per_image=32)

    batch = tf.TensorSpec([2, ANCHORS], tf.int32, name="labels"), tf.TensorSpec([2, ANCHORS, 4], name="targets")
    graph = compute.get_concrete_function(features, *batch).graph
    found = [op for op in graph.get_operations() if op.type == "Where"]
    assert len(found) == len(LEVEL_SIZES)
    arguments = {op.name for one in found for op in operations_before(one) if op.type == "Placeholder"}
    assert arguments == {"labels", "targets"}


def operations_before(op: tf.Operation) -> set[tf.Operation]:
    """Return all operations on whose results one depends."""
    found: set[tf.Operation] = set()
    waiting = [op]
    while waiting:
        for before in {tensor.op for tensor in waiting.pop().inputs} - found:
            found.add(before)
            waiting.append(before)
    return found
