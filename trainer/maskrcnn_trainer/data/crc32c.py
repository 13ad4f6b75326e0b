"""Checksum of TFRecord files: CRC-32C (Castagnoli), rotated and offset so that data may itself contain checksums.

``google-crc32c`` computes it with the processor's instruction, 160 KB in 9 µs. TFRecord files are written and verified
without TensorFlow, whose import alone takes longer than converting a small data set.
"""

from __future__ import annotations

import google_crc32c

_MASK_DELTA = 0xA282EAD8  # https://www.tensorflow.org/tutorials/load_data/tfrecord


def masked_crc32c(data: bytes) -> int:
    """Return the checksum that a TFRecord file stores for ``data``, an unsigned 32-bit integer."""
    value: int = google_crc32c.value(data)
    return (((value >> 15) | (value << 17)) + _MASK_DELTA) & 0xFFFFFFFF
