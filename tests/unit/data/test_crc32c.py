from __future__ import annotations

import google_crc32c
import numpy as np
import pytest

from maskrcnn_trainer.data.crc32c import masked_crc32c


def masked_bit_by_bit(data: bytes) -> int:
    """Compute the checksum by its definition: reflected division by the Castagnoli polynomial, then the mask."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    value = register ^ 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) % 2**32


@pytest.mark.parametrize("size", [0, 1, 7, 2048, 9483])
def test_checksum_is_that_of_the_definition(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert masked_crc32c(data) == masked_bit_by_bit(data)


def test_checksum_is_computed_by_the_c_extension() -> None:
    # Without its extension the library falls back to Python, which takes 30 ms for a record.
    assert google_crc32c.implementation == "c"
