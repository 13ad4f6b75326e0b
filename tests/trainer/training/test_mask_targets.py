"""Mask targets compared with grids computed by hand and a NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.training.mask_targets import mask_targets

pytestmark = pytest.mark.trainer


def targets(
    boxes: np.ndarray, truth: np.ndarray, masks: np.ndarray, images: list[int], instances: list[int], *, size: int
) -> np.ndarray:
    result = mask_targets(
        tf.constant(boxes, tf.float32),
        tf.constant(truth, tf.float32),
        tf.constant(masks, tf.uint8),
        tf.constant(images, tf.int32),
        tf.constant(instances, tf.int32),
        resolution=size,
    )
    return result.numpy()


def framed(inside: np.ndarray) -> np.ndarray:
    return np.pad(inside.astype(np.uint8) * 255, 2)


def test_a_region_on_the_instance_gives_the_mask_itself() -> None:
    inside = np.random.default_rng(0).random((8, 8)) > 0.5
    box = np.array([[10.0, 20.0, 50.0, 100.0]])
    result = targets(box, box, framed(inside)[None, None], [0], [0], size=8)
    np.testing.assert_array_equal(result[0], inside)


def test_a_region_beyond_the_instance_is_empty_there() -> None:
    box = np.array([[0.0, 0.0, 40.0, 40.0]])
    region = np.array([[-40.0, 0.0, 40.0, 80.0]])  # the instance fills the lower left quarter
    result = targets(region, box, framed(np.ones((8, 8)))[None, None], [0], [0], size=8)
    expected = np.zeros((8, 8))
    expected[4:, :4] = 1
    np.testing.assert_array_equal(result[0], expected)


def test_half_covered_counts_as_inside() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = [[128, 127, 0, 255]] * 4
    box = np.array([[0.0, 0.0, 4.0, 4.0]])
    result = targets(box, box, mask[None, None], [0], [0], size=4)
    np.testing.assert_array_equal(result[0], [[1, 0, 0, 1]] * 4)


def test_rows_pick_their_image_and_instance_and_agree_with_numpy() -> None:
    generator = np.random.default_rng(1)
    cells, size, count = 12, 7, 6
    masks = np.zeros((2, 3, cells + 4, cells + 4), np.uint8)
    masks[:, :, 2:-2, 2:-2] = generator.integers(0, 256, (2, 3, cells, cells))
    corner = generator.uniform(0, 30, (count, 2))
    truth = np.concatenate([corner, corner + generator.uniform(5, 40, (count, 2))], axis=1)
    boxes = truth + generator.uniform(-4, 4, (count, 4))
    images, instances = [0, 1, 0, 1, 1, 0], [2, 0, 1, 1, 2, 0]
    result = targets(boxes, truth, masks, images, instances, size=size)
    for row in range(count):
        mask = masks[images[row], instances[row]].astype(np.float64)
        for i in range(size):
            for j in range(size):
                place = []
                for axis, k in ((0, i), (1, j)):
                    at = boxes[row, axis] + (k + 0.5) / size * (boxes[row, axis + 2] - boxes[row, axis])
                    extent = truth[row, axis + 2] - truth[row, axis]
                    place.append(np.clip((at - truth[row, axis]) * cells / extent + 2 - 0.5, 0, cells + 3))
                y, x = (min(int(p), cells + 2) for p in place)
                dy, dx = place[0] - y, place[1] - x
                upper = mask[y, x] * (1 - dx) + mask[y, x + 1] * dx
                lower = mask[y + 1, x] * (1 - dx) + mask[y + 1, x + 1] * dx
                value = upper * (1 - dy) + lower * dy
                if abs(value - 127.5) > 0.05:
                    assert result[row, i, j] == (value >= 127.5)


def test_padding_rows_stay_inside_the_array() -> None:
    masks = np.zeros((1, 2, 8, 8), np.uint8)
    padding = np.array([[-1.0, -1.0, -1.0, -1.0]])
    result = targets(np.array([[0.0, 0.0, 500.0, 500.0]]), padding, masks, [0], [1], size=4)
    assert not result.any()


def test_targets_for_a_gpu_are_those_of_the_cpu(
    on_cpu_and_for_gpu: Callable[[Callable[[], Any]], tuple[Any, Any]],
) -> None:
    generator = np.random.default_rng(2)
    masks = np.zeros((2, 5, 20, 20), np.uint8)
    masks[:, :, 2:-2, 2:-2] = generator.integers(0, 256, (2, 5, 16, 16))
    corner = generator.uniform(0, 30, (200, 2))
    truth = np.concatenate([corner, corner + generator.uniform(5, 40, (200, 2))], axis=1).astype(np.float32)
    boxes = (truth + generator.uniform(-4, 4, (200, 4))).astype(np.float32)
    images, instances = generator.integers(0, 2, 200), generator.integers(0, 5, 200)

    def compute() -> tf.Tensor:
        rows = tf.constant(images, tf.int32), tf.constant(instances, tf.int32)
        return mask_targets(tf.constant(boxes), tf.constant(truth), tf.constant(masks), *rows, resolution=28)

    on_cpu, for_gpu = on_cpu_and_for_gpu(compute)
    assert 0.2 < float(tf.reduce_mean(on_cpu)) < 0.8
    np.testing.assert_array_equal(for_gpu, on_cpu)
