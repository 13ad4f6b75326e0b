"""Losses compared with published values, values computed by hand, and NumPy.

The "published" inputs and results are those of TAO Toolkit's public test of its losses.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tests.trainer.training.plain_losses import mask_loss

from maskrcnn_trainer.training import losses

pytestmark = pytest.mark.trainer

LOGITS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1], np.float32)
LABELS = np.array([1, 0, 0, 1, 0, 0, 1, 1, -1, -1], np.int32)


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - logits * targets


def test_rpn_score_published() -> None:
    loss = losses.rpn_score_loss(LOGITS[None], LABELS[None], batch_size=1, anchors_per_image=1)
    assert float(loss) == pytest.approx(5.5957575, abs=1e-6)


def test_rpn_score_divides_by_the_constant_and_not_by_what_was_found() -> None:
    loss = losses.rpn_score_loss(LOGITS[None], LABELS[None], batch_size=2, anchors_per_image=256)
    assert float(loss) == pytest.approx(5.5957575 / 512, rel=1e-6)


def test_rpn_box_published() -> None:
    deltas = np.repeat(LOGITS[:, None], 4, axis=1)[None]
    targets = np.repeat(LABELS[:, None], 4, axis=1)[None].astype(np.float32)
    assert float(losses.rpn_box_loss(deltas, targets, [10])) == pytest.approx(0.086419754, rel=1e-6)


def test_rpn_box_is_a_mean_on_each_level_and_a_sum_over_levels() -> None:
    deltas = np.zeros((1, 4, 4), np.float32)
    targets = np.zeros((1, 4, 4), np.float32)
    targets[0, 0] = [1, 1, 1, 0]  # level one: three elements count, each 1/9 - 1/162
    targets[0, 3] = [0.1, 0, 0, 0]  # level two: one element, 0.1^2 / 2
    expected = (1 / 9 - 1 / 162) + 0.005
    assert float(losses.rpn_box_loss(deltas, targets, [1, 3])) == pytest.approx(expected, rel=1e-5)
    assert float(losses.rpn_box_loss(deltas, targets, [2, 1, 1])) == pytest.approx(expected, rel=1e-5)
    assert float(losses.rpn_box_loss(deltas, np.zeros_like(targets), [1, 3])) == 0.0


def test_class_loss_is_the_mean_over_rows_that_count() -> None:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0], [9.0, -9.0, 0.0]], np.float32)
    rows = [-np.log(np.exp(2) / (np.exp(2) + 2)), -np.log(np.exp(1) / (1 + np.exp(1) + np.exp(3)))]
    assert float(losses.class_loss(logits, np.array([0, 1, -1]))) == pytest.approx(np.mean(rows), rel=1e-5)
    assert float(losses.class_loss(logits, np.array([-1, -1, -1]))) == 0.0


PREDICTED = np.array(
    [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6], [0.5, 0.6, 0.6, 0.7], [0.7, 0.8, 0.8, 0.9], [0.9, 0.1, 1.0, 0.2]],
    np.float32,
)
TRUE = np.array(
    [
        [0.1, 0.2, 0.35, 0.45],
        [0.3, 0.4, 0.55, 0.65],
        [0.5, 0.65, 0.65, 0.7],
        [0.7, 0.8, 0.85, 0.9],
        [0.95, 0.1, 1.0, 0.25],
    ],
    np.float32,
)


def test_box_published() -> None:
    deltas = np.stack([np.full_like(PREDICTED, 7.0), PREDICTED], axis=1)
    loss = losses.box_loss(deltas, np.ones(5, np.int32), TRUE)
    assert float(loss) == pytest.approx(0.0005624996, rel=1e-4)


def test_box_counts_foreground_rows_and_the_class_of_the_target_only() -> None:
    deltas = np.zeros((3, 3, 4), np.float32)
    deltas[0, 2] = [0.5, -2.0, 0.0, 1.0]
    targets = np.zeros((3, 4), np.float32)
    classes = np.array([2, 0, -1], np.int32)
    expected = (0.125 + 1.5 + 0.0 + 0.5) / 4
    variable = tf.Variable(deltas)
    with tf.GradientTape() as tape:
        loss = losses.box_loss(variable, classes, targets)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(loss, variable)).numpy()
    np.testing.assert_allclose(gradient[0, 2], np.array([0.5, -1.0, 0.0, 1.0]) / 4, rtol=1e-6)
    gradient[0, 2] = 0
    assert not gradient.any()
    assert float(losses.box_loss(deltas, np.zeros(3, np.int32), targets)) == 0.0


def test_mask_is_the_mean_over_pixels_of_foreground_rows() -> None:
    logits = np.random.default_rng(3).normal(size=(4, 5, 5)).astype(np.float32)
    targets = (np.random.default_rng(4).random((4, 5, 5)) > 0.5).astype(np.float32)
    foreground = np.array([True, False, True, False])
    expected = cross_entropy(logits, targets)[foreground].mean()
    assert float(mask_loss(logits, targets, foreground)) == pytest.approx(expected, rel=1e-5)
    assert float(mask_loss(logits, targets, np.zeros(4, bool))) == 0.0
    ones = mask_loss(np.full((1, 28, 28), 0.5, np.float32), np.ones((1, 28, 28), np.float32), np.array([True]))
    assert float(ones) == pytest.approx(np.log1p(np.exp(-0.5)), rel=1e-6)


# fmt: off
MASK_LOGITS = np.array([
    0.43243138, 0.10941903, 0.5394564, 0.03027718, 0.09385015, 0.46510113, 0.31793583, 0.12436913, 0.85575253,
    0.21725659, 0.84771655, 0.26786283, 0.19578418, 0.47323207, 0.17927243, 0.14441685, 0.55496574, 0.46789852,
    0.33832675, 0.87777560, 0.09468317, 0.51682021, 0.46277403, 0.46175286, 0.97316929, 0.10863443, 0.27351846,
    0.77452679, 0.47604643, 0.33915814, 0.51387640, 0.68092501, 0.46150238, 0.18415834, 0.53534979, 0.31629868,
    0.64107154, 0.68567363, 0.72082573, 0.14127229, 0.52808330, 0.92486021, 0.13708679, 0.57605909, 0.52032435,
    0.13153844, 0.86583202, 0.82361283, 0.17344127, 0.86495139, 0.60915031, 0.18700866, 0.80593272, 0.38373346,
    0.36316737, 0.42034724, 0.90357802, 0.60602034, 0.13499481, 0.58061098, 0.71707536, 0.29609169, 0.88630556,
    0.07664849, 0.40421899, 0.87128055, 0.74032759, 0.11390369, 0.48023603, 0.69994274, 0.99873194, 0.86009772,
    0.03589585, 0.34378647, 0.89354507, 0.10663731, 0.94849647, 0.73884596, 0.88823689, 0.14141050, 0.42600678,
    0.06402352, 0.36755309, 0.77146811, 0.67770853, 0.30417758, 0.57815378, 0.97985004, 0.30534067, 0.61657323,
    0.06604396, 0.13499227, 0.78873070, 0.15410758, 0.57401998, 0.11121709, 0.35525001, 0.65603656, 0.54746670,
    0.48069364,
], np.float32).reshape(4, 5, 5)
# fmt: on


def test_mask_published() -> None:
    loss = mask_loss(MASK_LOGITS, np.ones((4, 5, 5), np.float32), np.ones(4, bool))
    assert float(loss) == pytest.approx(0.4921867, rel=1e-6)


def test_huber_at_and_around_delta() -> None:
    error = np.array([-3.0, -1.0, -0.5, 0.0, 1.0, 2.0], np.float32)
    np.testing.assert_allclose(losses.huber(error, 1.0), [2.5, 0.5, 0.125, 0.0, 0.5, 1.5], rtol=1e-6)
