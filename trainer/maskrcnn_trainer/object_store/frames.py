"""Messages between a process and its helper: four bytes of length, big-endian, then JSON."""

from __future__ import annotations

import json
import struct
from typing import Any

Message = dict[str, Any]

_LENGTH = struct.Struct(">I")
LONGEST_FRAME = 64 * 1024 * 1024
"""Upper limit of a message, in bytes: a page of a listing has at most 1,000 keys of at most 1,024 bytes."""


class BrokenFrame(Exception):
    """A message that is too long or isn't a JSON object."""


def encoded(message: Message) -> bytes:
    """Return a message as bytes."""
    # lone surrogates, as in names of files that aren't UTF-8, survive as escapes
    body = json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Messages from bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._received = bytearray()

    def add(self, piece: bytes) -> None:
        """Take bytes as they were received."""
        self._received += piece

    def next(self) -> Message | None:
        """Return the next message; None: it isn't complete.

        Raises:
            BrokenFrame: the bytes aren't messages.
        """
        if len(self._received) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length > LONGEST_FRAME:
            raise BrokenFrame(f"a message of {length} bytes; at most {LONGEST_FRAME} are expected")
        end = _LENGTH.size + length
        if len(self._received) < end:
            return None
        body = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        try:
            message = json.loads(body)
        except ValueError as error:
            raise BrokenFrame("a message that isn't JSON") from error
        if not isinstance(message, dict):
            raise BrokenFrame("a message that isn't a JSON object")
        return message
