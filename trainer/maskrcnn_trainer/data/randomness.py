"""Random numbers of one image: functions of the experiment's seed and the image's global position alone.

TensorFlow's stateless generators give different numbers inside and outside a function that XLA compiles, even with a
named algorithm, so that a run would depend on how it is compiled. Here a counter is hashed in integer arithmetic, which
is the same on every device and under every compiler.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import tensorflow as tf

_WORD = 0xFFFFFFFF
_GOLDEN_RATIO = 0x9E3779B9


class Stream(enum.IntEnum):
    """Purpose of a random draw; draws of one image for different purposes are independent."""

    FLIP = 1
    JITTER = 2
    ANCHORS = 3
    ROIS = 4


def uniform(seed: int, position: tf.Tensor, stream: Stream, shape: Sequence[int]) -> tf.Tensor:
    """Return uniform random numbers for each position.

    The hash is triple32 (Wellons, "Prospecting for Hash Functions", 2018), its rounds keyed with hashes of seed,
    stream, and position.

    Args:
        seed: the experiment's seed, 0 .. 2^32 - 1.
        position: int64 scalar or [B], in the global stream, at least 0.
        stream: purpose of the draw.
        shape: static shape of the numbers of each position.

    Returns:
        float32 ``shape``, or [B, *shape], multiples of 2^-24 in [0, 1).
    """
    position = tf.cast(position, tf.int64)
    first = _hash(tf.constant((seed + int(stream) * _GOLDEN_RATIO) & _WORD, tf.int64))
    first = _hash(_xor(first, _low(position)))
    first = _hash(_xor(first, _shifted(position, 32)))
    second = _hash(_xor(first, _GOLDEN_RATIO))
    batch = list(position.shape)
    count = 1
    for side in shape:
        count *= side
    words = _hash(_xor(tf.range(count, dtype=tf.int64), first[..., None]), second[..., None])
    return tf.reshape(tf.cast(_shifted(words, 8), tf.float32) * 2.0**-24, [*batch, *shape])


def _hash(word: tf.Tensor, key: tf.Tensor | int = 0) -> tf.Tensor:
    """Return triple32 of 32-bit words stored in int64; products wrap modulo 2^64, which keeps their low 32 bits."""
    word = _low(_xor(word, _shifted(word, 17)) * 0xED5AD4BB)
    word = _xor(word, key)
    word = _low(_xor(word, _shifted(word, 11)) * 0xAC4C1B51)
    word = _low(_xor(word, _shifted(word, 15)) * 0x31848BAB)
    return _xor(word, _shifted(word, 14))


def _low(word: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.bitwise_and(word, tf.constant(_WORD, tf.int64))


def _xor(word: tf.Tensor, key: tf.Tensor | int) -> tf.Tensor:
    return tf.bitwise.bitwise_xor(word, tf.cast(key, tf.int64))


def _shifted(word: tf.Tensor, bits: int) -> tf.Tensor:
    return tf.bitwise.right_shift(word, tf.constant(bits, tf.int64))
