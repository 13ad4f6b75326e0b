from __future__ import annotations

import numpy as np
import pytest

from maskrcnn_trainer.data.crc32c import crc32c, masked_crc32c, masked_crc32c_of_lengths


def bit_by_bit(data: bytes) -> int:
    """The definition: reflected division by the Castagnoli polynomial."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "value"),
    [
        # The check value of the catalogue of CRCs, and the test vectors of RFC 3720, B.4.
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_published_values(data: bytes, value: int) -> None:
    assert crc32c(data) == value


@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, 2303, 2304, 4096, 5000, 256 * 37 + 11])
def test_lanes_give_what_the_definition_gives(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == bit_by_bit(data)
    assert crc32c(memoryview(data)) == crc32c(data)


def test_lengths_at_once_are_those_one_by_one() -> None:
    lengths = np.array([0, 1, 255, 70_000, 2**40 + 3], np.uint64)
    expected = [masked_crc32c(int(one).to_bytes(8, "little")) for one in lengths]
    assert masked_crc32c_of_lengths(lengths).tolist() == expected
