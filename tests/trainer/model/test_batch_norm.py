"""Batch norm: stored statistics, batch moments, averaging over ranks, moving averages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.model.batch_norm import BatchNorm, moving_average_momentum

pytestmark = pytest.mark.trainer

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(4, 5, 6, 3)) * [1.0, 3.0, 0.2] + [0.0, 5.0, -1.0]).astype(np.float32)


def layer(**kwargs: object) -> BatchNorm:
    values: dict[str, object] = {"epsilon": 1e-3, "frozen": False, "updates": tf.Variable(0, dtype=tf.int64)}
    norm = BatchNorm(**{**values, **kwargs})  # type: ignore[arg-type]
    norm.build((None, None, None, 3))
    norm.gamma.assign([1.5, 0.5, 2.0])
    norm.beta.assign([0.1, -0.2, 0.3])
    norm.moving_mean.assign([0.5, 1.0, -0.5])
    norm.moving_variance.assign([2.0, 0.5, 1.0])
    return norm


@pytest.mark.parametrize(("frozen", "training"), [(True, True), (True, False), (False, False)])
def test_stored_statistics_are_used_and_kept(frozen: bool, training: bool) -> None:
    norm = layer(frozen=frozen)
    wanted = (X - [0.5, 1.0, -0.5]) / np.sqrt(np.array([2.0, 0.5, 1.0]) + 1e-3) * [1.5, 0.5, 2.0] + [0.1, -0.2, 0.3]
    np.testing.assert_allclose(norm(X, training=training), wanted, atol=2e-5)
    np.testing.assert_array_equal(norm.moving_mean, np.float32([0.5, 1.0, -0.5]))
    np.testing.assert_array_equal(norm.moving_variance, np.float32([2.0, 0.5, 1.0]))


def test_batch_moments_are_used_and_statistics_move() -> None:
    updates = tf.Variable(5, dtype=tf.int64)
    norm = layer(updates=updates)
    flat = X.reshape(-1, 3).astype(np.float64)
    wanted = (X - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3) * [1.5, 0.5, 2.0] + [0.1, -0.2, 0.3]
    np.testing.assert_allclose(norm(X, training=True), wanted, atol=1e-4)
    kept = 6 / 15
    np.testing.assert_allclose(
        norm.moving_mean, kept * np.array([0.5, 1.0, -0.5]) + (1 - kept) * flat.mean(0), rtol=1e-5
    )
    np.testing.assert_allclose(
        norm.moving_variance, kept * np.array([2.0, 0.5, 1.0]) + (1 - kept) * flat.var(0), rtol=1e-4
    )


@pytest.mark.parametrize(("updates", "momentum"), [(0, 0.1), (5, 0.4), (80, 0.9), (10_000, 0.99)])
def test_momentum_rises_with_the_updates(updates: int, momentum: float) -> None:
    assert float(moving_average_momentum(tf.constant(updates, tf.int64))) == pytest.approx(momentum)


def test_two_half_batches_with_averaged_moments_equal_the_whole_batch() -> None:
    """Two ranks in one process: each layer's reduction averages the moments of both halves and their gradients."""
    x = tf.constant(X)
    target = tf.constant(RNG.normal(size=X.shape).astype(np.float32))

    def moments_of(part: tf.Tensor) -> tf.Tensor:
        return tf.stack([tf.reduce_mean(part, [0, 1, 2]), tf.reduce_mean(tf.square(part), [0, 1, 2])])

    joined = layer()
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = joined(x, training=True)
        loss = tf.reduce_mean(tf.square(y - target))
    wanted = tape.gradient(loss, [x, joined.gamma.value, joined.beta.value])

    with tf.GradientTape() as tape:
        tape.watch(x)
        halves = tf.split(x, 2)
        other = {0: halves[1], 1: halves[0]}
        ranks = [
            layer(sync_moments=lambda m, rank=rank: 0.5 * (m + moments_of(other[rank])))  # type: ignore[misc]
            for rank in range(2)
        ]
        parts = [norm(half, training=True) for norm, half in zip(ranks, halves, strict=True)]
        loss = tf.add_n([tf.reduce_mean(tf.square(p - t)) / 2 for p, t in zip(parts, tf.split(target, 2), strict=True)])
    np.testing.assert_allclose(tf.concat(parts, 0), y, atol=1e-4)
    gradients = tape.gradient(loss, [x, *(n.gamma.value for n in ranks), *(n.beta.value for n in ranks)])
    np.testing.assert_allclose(gradients[0], wanted[0], atol=1e-5)
    np.testing.assert_allclose(gradients[1] + gradients[2], wanted[1], rtol=1e-4)
    np.testing.assert_allclose(gradients[3] + gradients[4], wanted[2], rtol=1e-4)
    np.testing.assert_allclose(ranks[0].moving_mean, joined.moving_mean, rtol=1e-5)
    np.testing.assert_array_equal(ranks[0].moving_variance, ranks[1].moving_variance)


def test_moments_are_float32_in_mixed_precision() -> None:
    """bfloat16 has 8 bits: summed in it, the mean of 30,000 values near 1,000 would be far off."""
    x = tf.cast(tf.constant(1000.0 + RNG.normal(size=(4, 80, 90, 1)).astype(np.float32) * 50), tf.bfloat16)
    seen = []
    norm = BatchNorm(
        epsilon=1e-3,
        frozen=False,
        updates=tf.Variable(0, dtype=tf.int64),
        sync_moments=lambda m: seen.append(m) or m,  # type: ignore[func-returns-value]
        dtype="mixed_bfloat16",
    )
    y = norm(x, training=True)
    assert y.dtype == tf.bfloat16
    assert seen[0].dtype == tf.float32
    assert norm.moving_mean.dtype == "float32"
    exact = tf.cast(x, tf.float64).numpy()
    assert float(seen[0][0, 0]) == pytest.approx(exact.mean(), rel=1e-5)
    assert float(np.std(tf.cast(y, tf.float32))) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("jit", [False, True])
def test_one_process_is_a_reduction_over_one(dtype: str, jit: bool) -> None:
    """Results, gradients, and statistics of the fused kernel equal those of averaged moments."""
    tolerance = 1e-4 if dtype == "float32" else 0.03
    x = tf.cast(X, "float32" if dtype == "float32" else "bfloat16")
    weight = tf.constant(RNG.normal(size=X.shape).astype(np.float32))

    def run(norm: BatchNorm) -> list[tf.Tensor]:
        @tf.function(jit_compile=jit, autograph=False)
        def compute() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = norm(x, training=True)
                loss = tf.reduce_mean(tf.square(tf.cast(y, tf.float32) - weight))
            return [y, *tape.gradient(loss, [x, norm.gamma.value, norm.beta.value])]

        return [tf.cast(value, tf.float32).numpy() for value in compute()] + [
            norm.moving_mean.numpy(),
            norm.moving_variance.numpy(),
        ]

    fused = run(layer(dtype=dtype))
    stepwise = run(layer(dtype=dtype, sync_moments=lambda moments: moments))
    for ours, theirs in zip(fused, stepwise, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


def constant_channel() -> np.ndarray:
    """Return inputs whose second channel is 5 everywhere."""
    x = X.copy()
    x[..., 1] = 5.0
    return x


def test_channel_without_variance_is_its_offset_with_epsilon_zero() -> None:
    norm = layer(epsilon=0.0, frozen=True)
    norm.moving_variance.assign([2.0, 0.0, 1e-12])
    found = norm(constant_channel(), training=True).numpy()
    np.testing.assert_array_equal(found[..., 1], np.full(X.shape[:3], np.float32(-0.2)))
    np.testing.assert_allclose(found[..., 0], (X[..., 0] - 0.5) / np.sqrt(2.0) * 1.5 + 0.1, atol=1e-5)
    np.testing.assert_allclose(norm.scale(training=True)[2], 2e6, rtol=1e-5)


@pytest.mark.parametrize("sync_moments", [None, lambda moments: moments])
@pytest.mark.parametrize("jit", [False, True])
def test_constant_channel_of_a_batch_is_its_offset_with_epsilon_zero(sync_moments: Any, jit: bool) -> None:
    norm, x = layer(epsilon=0.0, sync_moments=sync_moments), tf.constant(constant_channel())

    @tf.function(jit_compile=jit, autograph=False)
    def run() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = norm(x, training=True)
            loss = tf.reduce_sum(tf.square(y - 1.0))
        return [y, *tape.gradient(loss, [x, norm.gamma.value, norm.beta.value])]

    y, *gradients = (value.numpy() for value in run())
    np.testing.assert_array_equal(y[..., 1], np.full(X.shape[:3], np.float32(-0.2)))
    flat = X[..., 0].astype(np.float64)
    np.testing.assert_allclose(y[..., 0], (flat - flat.mean()) / flat.std() * 1.5 + 0.1, atol=1e-4)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert float(norm.moving_variance[1]) < 0.5
