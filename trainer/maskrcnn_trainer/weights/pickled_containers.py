"""Containers and bytes in a pickle that are calls in it, and the limits of what such calls make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.weights.inert import Inert

LARGEST_COUNT = 1_000_000
"""Opcodes and copied entries of one pickle; an opcode makes at most 216 bytes, an empty set. A detector with
the momentum of its optimizer has about 20,000 opcodes: 600 tensors of 30 each.
"""


class Budget:
    """Limits of a pickle on what is made from values that it may refer to any number of times.

    Args:
        length: of the pickle in bytes; no more bytes are made by conversions.
    """

    def __init__(self, length: int) -> None:
        self._bytes = length
        self._count = LARGEST_COUNT

    def spend_count(self, count: int) -> None:
        """Raise InvalidInput if there are more than `LARGEST_COUNT` opcodes and copied entries."""
        self._count -= count
        if self._count < 0:
            raise InvalidInput(f"the pickle has more than {LARGEST_COUNT:,} steps, more than any weight file needs")

    def spend_bytes(self, count: int) -> None:
        """Raise InvalidInput if conversions make more bytes than the pickle has."""
        self._bytes -= count
        if self._bytes < 0:
            raise InvalidInput("the pickle converts the same strings many times over, as no weight file does")


Rebuild = Callable[[tuple[Any, ...], Budget], Any]
"""Function that makes a value from the arguments in a file, in place of the class or function that the file names."""


def plain_key(key: Any) -> Any:
    """Return a key as it is if it is a string or a number, else an inert one.

    Hashing a nested tuple may take forever, and numbers beyond 64 bits can all have the same hash.
    """
    if key is None or isinstance(key, str | bytes | float | Inert):
        return key
    return key if isinstance(key, int) and key.bit_length() <= 64 else Inert(type(key).__name__)


def _dictionary(arguments: tuple[Any, ...], budget: Budget) -> dict[Any, Any]:
    """Return a dictionary from nothing or from a list of pairs, as Python 2 writes an OrderedDict."""
    made: dict[Any, Any] = {}
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
    budget.spend_count(len(pairs))
    for key, value in pairs:
        made[plain_key(key)] = value
    return made


def _set(arguments: tuple[Any, ...], budget: Budget) -> set[Any]:
    items = arguments[0] if arguments and isinstance(arguments[0], list) else []
    budget.spend_count(len(items))
    return {plain_key(item) for item in items}


def _encoded(arguments: tuple[Any, ...], budget: Budget) -> bytes:
    """Return the bytes that protocol 2 of Python 3 writes as ``_codecs.encode(text, "latin1")``."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise TypeError("bytes in another encoding than latin1")
    budget.spend_bytes(len(text))
    return text.encode("latin-1")


def _empty_bytes(arguments: tuple[Any, ...], _budget: Budget) -> Any:
    return Inert("builtins.bytes") if arguments else b""


CONTAINERS: Mapping[str, Rebuild] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    "builtins.dict": _dictionary,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _empty_bytes,
    "__builtin__.dict": _dictionary,
    "__builtin__.set": _set,
    "__builtin__.frozenset": _set,
    "__builtin__.bytes": _empty_bytes,
    "_codecs.encode": _encoded,
}
"""Functions by the name of the class or function in the file; protocol 2 keeps Python 2's name ``__builtin__``."""
