"""Box arithmetic compared with plain loops, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_trainer.model.boxes import area, clip_to_image, decode_boxes, encode_boxes, iou

pytestmark = pytest.mark.trainer

COORDINATES = st.integers(0, 1344).map(float)
BOX = st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)


def iou_of(a: list[float], b: list[float]) -> float:
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - height * width
    return height * width / union if height * width > 0 else 0.0


@settings(max_examples=25)
@given(a=st.lists(BOX, min_size=1, max_size=4), b=st.lists(BOX, min_size=1, max_size=4))
def test_iou_of_all_pairs(a: list[list[float]], b: list[list[float]]) -> None:
    expected = [[iou_of(x, y) for y in b] for x in a]
    np.testing.assert_allclose(iou(tf.constant(a), tf.constant(b)), expected, rtol=1e-5, atol=1e-7)


def test_iou_has_no_extra_pixel() -> None:
    """Two boxes of 10 x 10 share half of their area: 50 of 150."""
    value = iou(tf.constant([[0.0, 0.0, 10.0, 10.0]]), tf.constant([[0.0, 5.0, 10.0, 15.0]]))
    np.testing.assert_allclose(value, [[1 / 3]], rtol=1e-6)


def test_iou_of_boxes_without_an_area_is_zero() -> None:
    flat = tf.constant([[0.0, 0.0, 0.0, 0.0], [-1.0, -1.0, -1.0, -1.0], [3.0, 3.0, 3.0, 9.0], [5.0, 5.0, 2.0, 2.0]])
    others = tf.concat([flat, [[0.0, 0.0, 10.0, 10.0]]], axis=0)
    np.testing.assert_array_equal(iou(flat, others), np.zeros((4, 5)))
    np.testing.assert_array_equal(area(flat), np.zeros(4))


def test_iou_of_batches() -> None:
    generator = np.random.default_rng(0)
    corner, size = generator.uniform(0, 50, (2, 3, 2)), generator.uniform(1, 50, (2, 3, 2))
    boxes = np.concatenate([corner, corner + size], axis=-1).astype(np.float32)
    both = iou(tf.constant(boxes), tf.constant(boxes))
    for image in range(2):
        np.testing.assert_allclose(both[image], iou(boxes[image], boxes[image]), rtol=1e-6)
        np.testing.assert_allclose(np.diag(both[image]), np.ones(3), rtol=1e-6)


def test_coding_by_hand() -> None:
    """Anchor 10 high, 20 wide, center (15, 20); box 20 high, 10 wide, center (20, 25)."""
    anchor, box = tf.constant([[10.0, 10.0, 20.0, 30.0]]), tf.constant([[10.0, 20.0, 30.0, 30.0]])
    expected = np.array([[0.5, 0.25, math.log(2.0), -math.log(2.0)]])
    np.testing.assert_allclose(encode_boxes(box, anchor), expected, rtol=1e-6)
    weights = (10.0, 10.0, 5.0, 5.0)
    np.testing.assert_allclose(encode_boxes(box, anchor, weights), expected * weights, rtol=1e-6)
    np.testing.assert_allclose(
        decode_boxes(tf.constant(expected * weights, tf.float32), anchor, weights), box, rtol=1e-6
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_decoding_inverts_encoding(jit_compile: bool) -> None:
    generator = np.random.default_rng(1)

    def random_boxes() -> tf.Tensor:
        corner, size = generator.uniform(0, 1000, (200, 2)), generator.uniform(20, 340, (200, 2))
        return tf.constant(np.concatenate([corner, corner + size], axis=-1), tf.float32)

    @tf.function(jit_compile=jit_compile)
    def there_and_back(boxes: tf.Tensor, anchors: tf.Tensor) -> tf.Tensor:
        return decode_boxes(encode_boxes(boxes, anchors, (10.0, 10.0, 5.0, 5.0)), anchors, (10.0, 10.0, 5.0, 5.0))

    boxes = random_boxes()
    np.testing.assert_allclose(there_and_back(boxes, random_boxes()), boxes, atol=2e-3)


def test_growth_is_capped() -> None:
    decoded = decode_boxes(tf.constant([[0.0, 0.0, 50.0, 3.0]]), tf.constant([[0.0, 0.0, 16.0, 16.0]]))
    height, width = decoded[0, 2] - decoded[0, 0], decoded[0, 3] - decoded[0, 1]
    np.testing.assert_allclose([height, width], [1000.0, 16.0 * math.exp(3.0)], rtol=1e-5)


def test_shrinking_is_capped_only_if_asked_for() -> None:
    deltas, anchors = tf.constant([[0.0, 0.0, -6.0, 50.0]]), tf.constant([[0.0, 0.0, 1000.0, 16.0]])
    for clip_small, expected in ((False, 1000.0 * math.exp(-6.0)), (True, 16.0)):
        decoded = decode_boxes(deltas, anchors, clip_small=clip_small)
        height, width = decoded[0, 2] - decoded[0, 0], decoded[0, 3] - decoded[0, 1]
        np.testing.assert_allclose([height, width], [expected, 1000.0], rtol=1e-4)


def test_padding_gives_finite_deltas() -> None:
    padding = tf.constant([[-1.0, -1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    real = tf.constant([[0.0, 0.0, 16.0, 16.0], [5.0, 5.0, 9.0, 9.0]])
    for boxes, anchors in ((padding, real), (real, padding), (padding, padding)):
        assert np.isfinite(encode_boxes(boxes, anchors)).all()


def test_clipping() -> None:
    boxes = tf.constant([[-5.0, -6.0, 900.0, 1400.0], [10.0, 20.0, 30.0, 40.0], [840.0, -9.0, 850.0, -2.0]])
    expected = [[0.0, 0.0, 832.0, 1344.0], [10.0, 20.0, 30.0, 40.0], [832.0, 0.0, 832.0, 0.0]]
    np.testing.assert_array_equal(clip_to_image(boxes, 832, 1344), expected)


def test_sixteen_bit_input_is_computed_in_float32() -> None:
    """bfloat16 cannot represent 1343.5, so the difference of the float32 boxes would be lost in 16 bits."""
    deltas = tf.constant([[0.5, 0.5, 0.0, 0.0]], tf.bfloat16)
    decoded = decode_boxes(deltas, tf.constant([[1327.5, 1327.5, 1343.5, 1343.5]]))
    assert decoded.dtype == tf.float32
    np.testing.assert_array_equal(decoded, [[1335.5, 1335.5, 1351.5, 1351.5]])
