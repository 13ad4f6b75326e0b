"""The mask branch for foreground RoIs has the same loss and gradients as for all RoIs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tests.trainer.training.plain_losses import mask_loss

from maskrcnn_trainer.training.mask_branch import MaskGradients, foreground_order, mask_gradients, padded_sizes

pytestmark = pytest.mark.trainer

REGIONS, SIDE, CHANNELS = 20, 4, 3


@pytest.fixture(scope="module")
def parts() -> dict[str, tf.Tensor | tf.Variable]:
    generator = np.random.default_rng(0)
    return {
        "maps": [tf.constant(generator.normal(size=(REGIONS, SIDE, SIDE, CHANNELS)).astype(np.float32))],
        "kernel": tf.Variable(generator.normal(size=(3, 3, CHANNELS, 1)).astype(np.float32)),
        "bias": tf.Variable([0.1]),
        "targets": tf.constant((generator.random((REGIONS, SIDE, SIDE)) > 0.5).astype(np.float32)),
    }


def forward(parts: dict, maps: list[tf.Tensor], chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    patches = tf.gather(maps[0], chosen)
    logits = tf.nn.conv2d(patches, parts["kernel"], 1, "SAME")[..., 0] + parts["bias"]
    return logits, tf.gather(parts["targets"], chosen)


def full(parts: dict, foreground: tf.Tensor, weight: float) -> MaskGradients:
    sources = [*parts["maps"], parts["kernel"], parts["bias"]]
    with tf.GradientTape() as tape:
        tape.watch(parts["maps"])
        logits, targets = forward(parts, parts["maps"], tf.range(REGIONS))
        loss = mask_loss(logits, targets, foreground)
        scaled = loss * weight
    gradients = [tf.convert_to_tensor(g) for g in tape.gradient(scaled, sources)]
    return MaskGradients(loss, gradients[:1], gradients[1:])


@pytest.mark.parametrize("compiled", [False, True])
def test_equals_the_computation_over_all_regions(parts: dict, compiled: bool) -> None:
    @tf.function(jit_compile=compiled)
    def some(foreground: tf.Tensor) -> MaskGradients:
        return mask_gradients(
            features=parts["maps"],
            variables=[parts["kernel"], parts["bias"]],
            is_foreground=foreground,
            forward=lambda maps, chosen: forward(parts, maps, chosen),
            weight=tf.constant(64.0),
        )

    generator = np.random.default_rng(1)
    for count in (0, 1, 7, 8, 9, 13, 19, 20):
        foreground = np.zeros(REGIONS, bool)
        foreground[generator.permutation(REGIONS)[:count]] = True
        ours, theirs = some(tf.constant(foreground)), full(parts, tf.constant(foreground), 64.0)
        np.testing.assert_allclose(ours.loss, theirs.loss, rtol=1e-5)
        for one, two in zip([*ours.features, *ours.variables], [*theirs.features, *theirs.variables], strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_only_the_smallest_size_that_fits_is_computed(parts: dict) -> None:
    ran: list[int] = []

    @tf.function
    def some(foreground: tf.Tensor) -> MaskGradients:
        def counted_forward(maps: list[tf.Tensor], chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            tf.py_function(lambda: ran.append(chosen.shape[0]), [], [])
            return forward(parts, maps, chosen)

        return mask_gradients(
            features=parts["maps"],
            variables=[parts["kernel"], parts["bias"]],
            is_foreground=foreground,
            forward=counted_forward,
            weight=tf.constant(1.0),
        )

    for count, expected in ((0, []), (1, [8]), (8, [8]), (9, [12]), (17, [20])):
        ran.clear()
        some(tf.constant(np.arange(REGIONS) < count))
        assert ran == expected


def test_sizes_rise_to_the_number_of_regions() -> None:
    assert padded_sizes(64) == (0, 8, 12, 16, 24, 32, 48, 64)
    assert padded_sizes(20) == (0, 8, 12, 16, 20)
    assert padded_sizes(8) == (0, 8)
    assert padded_sizes(4) == (0, 4)
    assert padded_sizes(256, coarse=True) == (0, 16, 64, 256)
    assert padded_sizes(40, coarse=True) == (0, 16, 40)


def see_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = tf.config.LogicalDevice("GPU:0", "GPU")
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda _kind: [gpu])


def test_sizes_on_a_gpu_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    see_a_gpu(monkeypatch)
    assert padded_sizes(512) == (0, 16, 64, 256, 512)


def test_order_on_a_gpu_is_in_the_integers_that_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = tf.constant([False, True, False, True])
    assert foreground_order(flags)[0].dtype == tf.int32
    see_a_gpu(monkeypatch)
    order, _ = foreground_order(flags)
    assert order.dtype == tf.int64
    assert order.numpy().tolist() == [1, 3, 0, 2]


def test_foreground_order_keeps_the_order_of_regions() -> None:
    order, count = foreground_order(tf.constant([False, True, False, True]))
    assert order.numpy().tolist() == [1, 3, 0, 2]
    assert int(count) == 2
