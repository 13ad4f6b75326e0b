"""Momentum, doubled gradients, clipping, decay, loss scale, and the schedule of a tensor."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.training.decay import WeightDecay, is_decayed
from maskrcnn_trainer.training.loss_scale import LossScale
from maskrcnn_trainer.training.optimizer import MomentumOptimizer, gradient_factor, squared_norm

pytestmark = pytest.mark.trainer


def one_weight(**options: float) -> tuple[tf.Variable, MomentumOptimizer]:
    weight = tf.Variable([1.0])
    return weight, MomentumOptimizer([weight], ["fc6/kernel"], **options)


def test_momentum_by_hand() -> None:
    weight, optimizer = one_weight(momentum=0.9)
    optimizer.apply([tf.constant([1.0])], tf.constant(0.1))  # v = 1, w = 1 - 0.1
    optimizer.apply([tf.constant([2.0])], tf.constant(0.1))  # v = 2.9, w = 0.9 - 0.29
    assert weight.numpy() == pytest.approx([0.61])
    assert optimizer.state()["momentum/fc6/kernel"] == pytest.approx([2.9])


def test_a_drop_of_the_rate_acts_at_once_unlike_in_keras() -> None:
    weight, optimizer = one_weight(momentum=0.9)
    theirs = keras.Variable([1.0])
    sgd = keras.optimizers.SGD(learning_rate=0.1, momentum=0.9)
    for step, rate in enumerate([0.1, 0.1, 0.01]):
        sgd.learning_rate = rate
        sgd.apply([tf.constant([1.0])], [theirs])
        optimizer.apply([tf.constant([1.0])], tf.constant(rate))
        if step == 1:
            assert weight.numpy() == pytest.approx(theirs.numpy())
    # Ours: v = 1, 1.9, 2.71; w = 1 - 0.1 - 0.19 - 0.0271. Keras: v = -0.1, -0.19, -0.171 - 0.01.
    assert weight.numpy() == pytest.approx([0.6829])
    assert theirs.numpy() == pytest.approx([0.529])


def test_biases_and_betas_learn_at_twice_the_rate() -> None:
    names = ["fc6/kernel", "fc6/bias", "bn_conv1/gamma", "bn_conv1/beta"]
    assert [gradient_factor(name) for name in names] == [1.0, 2.0, 1.0, 2.0]
    weights = [tf.Variable([0.0]) for _ in names]
    MomentumOptimizer(weights, names, momentum=0.0).apply([tf.constant([1.0])] * 4, tf.constant(1.0))
    assert [float(weight[0]) for weight in weights] == [-1.0, -2.0, -1.0, -2.0]


def test_clipping_sees_the_doubled_gradients() -> None:
    weights = [tf.Variable([0.0]), tf.Variable([0.0])]
    optimizer = MomentumOptimizer(weights, ["a/kernel", "a/bias"], momentum=0.0, clip_norm=1.0)
    optimizer.apply([tf.constant([3.0]), tf.constant([2.0])], tf.constant(1.0))  # (3, 4) has norm 5
    assert [float(weight[0]) for weight in weights] == pytest.approx([-0.6, -0.8])
    optimizer.apply([tf.constant([0.3]), tf.constant([0.0])], tf.constant(1.0))  # below the limit: unchanged
    assert float(weights[0][0]) == pytest.approx(-0.9)


def test_state_round_trip_and_unique_names() -> None:
    _, optimizer = one_weight(momentum=0.9)
    optimizer.apply([tf.constant([3.0])], tf.constant(0.1))
    weight, other = one_weight(momentum=0.9)
    other.restore(optimizer.state())
    other.apply([tf.constant([0.0])], tf.constant(1.0))
    assert weight.numpy() == pytest.approx([1.0 - 2.7])
    with pytest.raises(KeyError):
        other.restore({})
    with pytest.raises(ValueError, match="unique"):
        MomentumOptimizer([weight, weight], ["a", "a"], momentum=0.9)


def test_squared_norm() -> None:
    assert float(squared_norm([tf.constant([3.0]), tf.constant([[4.0, 0.0]])])) == 25.0
    for bad in (np.nan, np.inf):
        assert not np.isfinite(float(squared_norm([tf.constant([1.0]), tf.constant([bad])])))


def test_decay_takes_kernels_only() -> None:
    names = ["conv1/kernel", "fc6/bias", "bn_conv1/gamma", "bn_conv1/beta"]
    assert [is_decayed(name) for name in names] == [True, False, False, False]
    values = [tf.constant([3.0, -1.0])] * 4
    l1, l2 = WeightDecay(names, l1=0.2, l2=0.1).losses(values)
    assert float(l1) == pytest.approx(0.2 * 4 / 2)
    assert float(l2) == pytest.approx(0.1 * 10 / 2)
    gradients = WeightDecay(names, l1=0.2, l2=0.1).add_gradients([tf.zeros(2)] * 4, values)
    np.testing.assert_allclose(gradients[0], [0.1 + 0.3, -0.1 - 0.1], rtol=1e-6)
    assert not any(np.any(gradient) for gradient in gradients[1:])


def test_closed_form_gradients_are_those_of_the_losses() -> None:
    value = tf.Variable(np.random.default_rng(0).normal(size=20).astype(np.float32))
    decay = WeightDecay(["a/kernel"], l1=0.3, l2=0.7)
    with tf.GradientTape() as tape:
        loss = tf.add_n(decay.losses([tf.convert_to_tensor(value)]))
    (ours,) = decay.add_gradients([tf.zeros(20)], [tf.convert_to_tensor(value)])
    np.testing.assert_allclose(ours, tape.gradient(loss, value), rtol=1e-5)


def test_no_decay_adds_no_operation() -> None:
    l1, l2 = WeightDecay(["a/kernel"]).losses([tf.constant([3.0])])
    assert (float(l1), float(l2)) == (0.0, 0.0)


def test_loss_scale() -> None:
    scale = LossScale(growth_steps=3)
    yes, no = tf.constant(True), tf.constant(False)
    seen = []
    for finite in (yes, yes, no, yes, yes, yes, yes):
        scale.update(finite)
        seen.append(float(scale.scale) / 2**15)
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.5, 1.0, 1.0]
    other = LossScale(growth_steps=3)
    other.restore(scale.state())
    assert float(other.scale) == 2.0**15
    assert int(other.good_steps) == 1
    small = LossScale(start=1.0)
    small.update(no)
    assert float(small.scale) == 1.0
