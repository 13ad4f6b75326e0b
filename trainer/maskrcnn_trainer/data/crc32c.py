"""CRC-32C (Castagnoli), vectorised with NumPy, and the masked form that TFRecord files store.

A record carries two checksums; with them here, TFRecord files are written and verified without TensorFlow, whose import
alone takes longer than converting a small data set.

Method: a CRC is linear over GF(2). The data is cut into lanes of 256 bytes that are advanced side by side, four bytes
at a time, by two tables of 65 536 words; then neighbouring lanes are joined, halving their number each time, by the
operator "append n zero bytes" (the combination step known from zlib's crc32_combine).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # reflected
_MASK_DELTA = 0xA282EAD8  # of the TFRecord format
_LANE = 256  # bytes
_SHORT = 2048  # bytes below which lanes cost more than they save

Words = NDArray[np.uint32]

_LOW_16 = np.uint32(0xFFFF)
_LOW_8 = np.uint32(0xFF)


def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1))
    return table.astype(np.uint32)


_BYTE = _byte_table()
_BYTE_LIST: list[int] = _BYTE.tolist()


@lru_cache(maxsize=1)
def _half_word_tables() -> tuple[Words, Words]:
    """What the low and the high 16 bits of a register turn into after 32 bits of zeros."""
    low = np.arange(65536, dtype=np.uint32)
    high = low << np.uint32(16)
    for _ in range(4):
        low = _BYTE[low & _LOW_8] ^ (low >> np.uint32(8))
        high = _BYTE[high & _LOW_8] ^ (high >> np.uint32(8))
    return low, high


def _apply(tables: Words, registers: Words) -> Words:
    """The linear operator held as one table of 256 words for each byte of a register; `tables` uint32 [4, 256]."""
    result: Words = (
        tables[0][registers & _LOW_8]
        ^ tables[1][(registers >> np.uint32(8)) & _LOW_8]
        ^ tables[2][(registers >> np.uint32(16)) & _LOW_8]
        ^ tables[3][registers >> np.uint32(24)]
    )
    return result


@lru_cache(maxsize=64)
def _append_zeros(doublings: int) -> Words:
    """The operator that appends ``_LANE * 2**doublings`` zero bytes."""
    if doublings:
        half = _append_zeros(doublings - 1)
        return _apply(half, half.reshape(-1)).reshape(4, 256)
    registers = (np.arange(256, dtype=np.uint32) << (np.uint32(8) * np.arange(4, dtype=np.uint32)[:, None])).reshape(-1)
    for _ in range(_LANE):
        registers = _BYTE[registers & _LOW_8] ^ (registers >> np.uint32(8))
    return registers.reshape(4, 256)


def _advance(register: int, data: bytes | memoryview) -> int:
    table = _BYTE_LIST
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of `data` as an unsigned 32-bit integer."""
    size = len(data)
    register = 0xFFFFFFFF
    if size >= _SHORT:
        lanes = size // _LANE
        columns = np.ascontiguousarray(np.frombuffer(data, "<u4", lanes * (_LANE // 4)).reshape(lanes, -1).T)
        low, high = _half_word_tables()
        registers = np.zeros(lanes, np.uint32)
        registers[0] = register
        for column in columns:
            registers ^= column
            registers = low[registers & _LOW_16] ^ high[registers >> np.uint32(16)]
        doublings = 0
        while len(registers) > 1:
            if len(registers) % 2:  # leading zeros do not change a register of zero
                registers = np.concatenate([np.zeros(1, np.uint32), registers])
            registers = _apply(_append_zeros(doublings), registers[0::2]) ^ registers[1::2]
            doublings += 1
        register = int(registers[0])
        data = memoryview(data)[lanes * _LANE :]
    return _advance(register, data) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum that TFRecord files store: rotated right by 15 bits, plus a constant, modulo 2**32."""
    value = crc32c(data)
    return (((value >> 15) | (value << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def masked_crc32c_of_lengths(lengths: NDArray[np.uint64]) -> Words:
    """The masked checksums of many record lengths at once; `lengths` uint64 [N], the result uint32 [N]."""
    octets = np.ascontiguousarray(lengths.astype("<u8")).view(np.uint8).reshape(-1, 8)
    registers = np.full(len(octets), 0xFFFFFFFF, np.uint32)
    for position in range(8):
        registers = _BYTE[(registers ^ octets[:, position]) & _LOW_8] ^ (registers >> np.uint32(8))
    registers ^= np.uint32(0xFFFFFFFF)
    rotated = (registers >> np.uint32(15)) | (registers << np.uint32(17))
    return rotated + np.uint32(_MASK_DELTA)
