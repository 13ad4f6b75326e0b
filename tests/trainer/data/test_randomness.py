from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from maskrcnn_trainer.data.randomness import Stream, uniform

pytestmark = pytest.mark.trainer


def triple32(word: int, key: int = 0) -> int:
    word ^= word >> 17
    word = word * 0xED5AD4BB % 2**32
    word ^= key
    word ^= word >> 11
    word = word * 0xAC4C1B51 % 2**32
    word ^= word >> 15
    word = word * 0x31848BAB % 2**32
    return word ^ word >> 14


def reference(seed: int, position: int, stream: int, count: int) -> list[float]:
    first = triple32((seed + stream * 0x9E3779B9) % 2**32)
    first = triple32(triple32(first ^ position % 2**32) ^ position >> 32)
    second = triple32(first ^ 0x9E3779B9)
    return [(triple32(i ^ first, second) >> 8) / 2**24 for i in range(count)]


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_are_the_same_in_python_in_a_graph_and_compiled(compiled: bool) -> None:
    draw = tf.function(lambda where: uniform(4294967295, where, Stream.ANCHORS, [2, 3]), jit_compile=compiled)
    positions = [0, 1, 2**32 - 1, 2**32, 2**62 + 5]
    expected = [reference(4294967295, position, 3, 6) for position in positions]
    drawn = draw(tf.constant(positions, tf.int64)).numpy()
    assert drawn.reshape(5, 6).tolist() == expected
    assert draw(tf.constant(2**32, tf.int64)).numpy().ravel().tolist() == expected[3]


def test_numbers_are_uniform_and_independent_of_their_neighbors() -> None:
    drawn = uniform(1, tf.range(2000, dtype=tf.int64), Stream.FLIP, [500]).numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    cells = np.histogram(drawn, 100, (0, 1))[0]
    # Chi-square with 99 degrees of freedom: 99 +- 14.
    assert np.sum((cells - 1e4) ** 2 / 1e4) < 99 + 5 * 14
    centered = drawn - 0.5
    others = uniform(2, tf.range(2000, dtype=tf.int64), Stream.FLIP, [500]).numpy() - 0.5
    streams = uniform(1, tf.range(2000, dtype=tf.int64), Stream.JITTER, [500]).numpy() - 0.5
    for left, right in (
        (centered[:, 1:], centered[:, :-1]),
        (centered[1:], centered[:-1]),
        (centered, others),
        (centered, streams),
    ):
        # A correlation of a million pairs has a standard deviation of 0.001.
        assert abs(np.mean(left * right) * 12) < 0.005
