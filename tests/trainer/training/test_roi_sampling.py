"""Sampling of RoIs: numbers, thresholds, padding, and independence of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.training.roi_sampling import RoiSampling, SampledRois, sample_rois

pytestmark = pytest.mark.trainer

SETTINGS = RoiSampling(batch_size_per_im=16, fg_fraction=0.25)


def strip(top: float, height: float) -> list[float]:
    """Return a box of width 10."""
    return [top, 0.0, top + height, 10.0]


def padded(boxes: list[list[float]], rows: int, fill: float) -> np.ndarray:
    result = np.full((rows, 4), fill, np.float32)
    if boxes:
        result[: len(boxes)] = boxes
    return result


def sample(
    proposals: list[list[float]],
    truth: list[list[float]],
    classes: list[int],
    *,
    settings: RoiSampling = SETTINGS,
    position: int = 7,
    rows: int = 40,
) -> SampledRois:
    gt_classes = np.full(4, -1, np.int32)
    gt_classes[: len(classes)] = classes
    result = sample_rois(
        tf.constant(padded(proposals, rows, 0.0)[None]),
        tf.constant(padded(truth, 4, -1.0)[None]),
        tf.constant(gt_classes[None]),
        tf.constant([position], tf.int64),
        seed=5,
        settings=settings,
    )
    return SampledRois(*(value[0].numpy() for value in result))


BACKGROUND = [[float(100 + i), 50.0, float(110 + i), 60.0] for i in range(30)]


def test_true_boxes_are_candidates_and_foreground_comes_first() -> None:
    rois = sample(BACKGROUND, [strip(0, 10), strip(40, 10)], [3, 9])
    assert rois.boxes.shape == (16, 4)
    assert sorted(rois.classes[:2]) == [3, 9]
    assert (rois.classes[2:] == 0).all()
    for row in range(2):
        np.testing.assert_array_equal(rois.boxes[row], strip(0, 10) if rois.classes[row] == 3 else strip(40, 10))
        assert rois.gt_index[row] == (0 if rois.classes[row] == 3 else 1)
    assert not rois.box_targets.any()  # the ground-truth boxes are foreground, and background has no target


def test_foreground_stops_at_its_share_and_surplus_is_never_labeled_background() -> None:
    near = [strip(0.01 * i, 10) for i in range(30)]
    rois = sample(near, [strip(0, 10)], [2])
    assert (rois.classes[:4] == 2).all()
    assert (rois.classes[4:] == -1).all()
    rois = sample(near + BACKGROUND[:10], [strip(0, 10)], [2])
    assert (rois.classes[:4] == 2).all()
    assert (rois.classes[4:14] == 0).all()
    assert (rois.boxes[4:14, 0] >= 100).all()
    assert (rois.classes[14:] == -1).all()


def test_thresholds() -> None:
    settings = RoiSampling(batch_size_per_im=8, fg_fraction=0.5, bg_thresh_lo=0.1)
    exactly_half = strip(0, 5)
    slightly_more = strip(0, 5.1)
    slightly_less = strip(0, 4.9)
    at_low = strip(0, 1)
    below_low = strip(0, 0.9)
    rois = sample(
        [exactly_half, slightly_more, slightly_less, at_low, below_low], [strip(0, 10)], [1], settings=settings
    )
    found = {round(float(box[2]), 2): int(cls) for box, cls in zip(rois.boxes, rois.classes, strict=True) if cls >= 0}
    assert found == {10.0: 1, 5.1: 1, 4.9: 0, 1.0: 0}


def test_box_targets_are_weighted_offsets() -> None:
    settings = RoiSampling(batch_size_per_im=8, fg_fraction=0.5)
    rois = sample([[0.0, 0.0, 8.0, 10.0]], [[0.0, 0.0, 10.0, 10.0]], [1], settings=settings)
    row = int(np.flatnonzero(rois.boxes[:, 2] == 8.0)[0])
    expected = [10 * (5 - 4) / 8, 0.0, 5 * np.log(10 / 8), 0.0]
    np.testing.assert_allclose(rois.box_targets[row], expected, rtol=1e-5, atol=1e-6)


def test_an_image_without_instances_gives_background_only() -> None:
    rois = sample(BACKGROUND, [], [])
    assert (rois.classes == 0).all()
    assert np.isfinite(rois.box_targets).all()


def test_fewer_candidates_than_rows() -> None:
    rois = sample(BACKGROUND[:3], [strip(0, 10)], [4], rows=3)
    assert rois.boxes.shape == (16, 4)
    assert list(rois.classes[:4]) == [4, 0, 0, 0]
    assert (rois.classes[4:] == -1).all()


def test_the_draw_depends_on_position_alone() -> None:
    first = sample(BACKGROUND, [strip(0, 10)], [1], position=11)
    again = sample(BACKGROUND, [strip(0, 10)], [1], position=11)
    other = sample(BACKGROUND, [strip(0, 10)], [1], position=12)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert (first.boxes != other.boxes).any()

    proposals = tf.constant(np.stack([padded(BACKGROUND, 40, 0.0)] * 2))
    truth = tf.constant(np.stack([padded([strip(0, 10)], 4, -1.0)] * 2))
    classes = tf.constant([[1, -1, -1, -1]] * 2)
    both = sample_rois(proposals, truth, classes, tf.constant([12, 11], tf.int64), seed=5, settings=SETTINGS)
    np.testing.assert_array_equal(both.boxes[1], first.boxes)
    np.testing.assert_array_equal(both.boxes[0], other.boxes)


def test_every_candidate_is_drawn_about_equally_often() -> None:
    counts = np.zeros(30)
    for position in range(200):
        rois = sample(BACKGROUND, [], [], position=position)
        counts[(rois.boxes[:, 0] - 100).astype(int)] += 1
    expected = 200 * 16 / 30
    assert counts.min() > 0.6 * expected
    assert counts.max() < 1.4 * expected


def test_compiled_code_draws_the_same() -> None:
    near = [strip(0.01 * i, 10) for i in range(9)]
    arguments = (
        tf.constant(padded(near + BACKGROUND, 40, 0.0)[None]),
        tf.constant(padded([strip(0, 10)], 4, -1.0)[None]),
        tf.constant([[5, -1, -1, -1]]),
        tf.constant([3], tf.int64),
    )
    plain = sample_rois(*arguments, seed=5, settings=SETTINGS)
    compiled = tf.function(lambda *a: sample_rois(*a, seed=5, settings=SETTINGS), jit_compile=True)(*arguments)
    for one, two in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def test_sample_for_a_gpu_is_that_of_the_cpu(
    on_cpu_and_for_gpu: Callable[[Callable[[], Any]], tuple[Any, Any]],
) -> None:
    generator = np.random.default_rng(3)
    corner = generator.uniform(0, 60, (2, 60, 2))
    proposals = np.concatenate([corner, corner + generator.uniform(5, 40, (2, 60, 2))], axis=-1).astype(np.float32)
    proposals[:, 50:] = 0.0
    truth = np.concatenate([proposals[:, :6] + 1.0, np.full((2, 2, 4), -1.0)], axis=1).astype(np.float32)
    classes = np.array([[1, 2, 3, 4, 5, 6, -1, -1]] * 2, np.int32)

    def compute() -> list[tf.Tensor]:
        position = tf.constant([7, 8], tf.int64)
        given = tf.constant(proposals), tf.constant(truth), tf.constant(classes), position
        return list(sample_rois(*given, seed=5, settings=RoiSampling(batch_size_per_im=64)))

    on_cpu, for_gpu = on_cpu_and_for_gpu(compute)
    assert {-1, 0, 1} <= set(np.unique(on_cpu[1]))
    for ours, theirs in zip(for_gpu, on_cpu, strict=True):
        np.testing.assert_array_equal(ours, theirs)
