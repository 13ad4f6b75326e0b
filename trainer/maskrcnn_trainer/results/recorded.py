"""Reading of what tasks record for the report.

The files may be absent (an older release, an interrupted run), damaged, or written by any other program. A reader
returns :class:`NotRecorded` in all of these cases, and raises nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.files import open_regular

LARGEST_NUMBER = 2**53
"""Limit of whole numbers, up to which float64 represents each of them."""
_LARGEST_METRIC = 1e300
_LONGEST_TEXT = 4096
_BEGINNING_BYTES = 100


@dataclass(frozen=True)
class NotRecorded:
    """Absence of what a task would have recorded.

    Attributes:
        reason: sentence without a final period, for the user; it begins with the name of the file.
    """

    reason: str


class Unusable(Exception):
    """Content that isn't as a task writes it; the text is the end of "FILE ...". It does not leave a reader."""


def content_of(file: Path, *, most: int) -> bytes:
    """Return the content of a plain file.

    Args:
        file: the file.
        most: limit of its size in bytes.

    Raises:
        Unusable: the file is absent, cannot be read, isn't a plain file, or is larger.
    """
    try:
        with open_regular(file) as stream:
            content = stream.read(most + 1)
    except FileNotFoundError:
        raise Unusable("is absent: the task has not finished, or an older release ran it") from None
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be read: {error.strerror if isinstance(error, OSError) else error}") from None
    except MemoryError:
        raise Unusable("is too large for the memory") from None
    if len(content) > most:
        raise Unusable(f"has more than {most:,} bytes, so no task wrote it")
    return content


def beginning_of(file: Path) -> bytes:
    """Return the first 100 bytes of a plain file; none if it cannot be read."""
    try:
        with open_regular(file) as stream:
            return stream.read(_BEGINNING_BYTES)
    except OSError:
        return b""


def json_object(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object in ``content``.

    Raises:
        Unusable: it isn't valid JSON, or isn't an object.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError, MemoryError):
        raise Unusable("is not valid JSON") from None
    if not isinstance(value, dict):
        raise Unusable("is not a JSON object")
    return value


def whole_number(value: Any, what: str, *, least: int = 0) -> int:
    """Return ``value`` if it is a whole number from ``least`` to 2^53.

    Raises:
        Unusable: it isn't.
    """
    if type(value) is not int or not least <= value <= LARGEST_NUMBER:
        raise Unusable(f"has no valid {what}")
    return value


def text(value: Any, what: str) -> str:
    """Return ``value`` if it is a text that can be written as UTF-8, without NUL, of at most 4,096 characters.

    Raises:
        Unusable: it isn't.
    """
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or "\0" in value:
        raise Unusable(f"has no valid {what}")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON may hold half of a surrogate pair
        raise Unusable(f"has no valid {what}") from None
    return value


def finite_number(value: Any) -> float | None:
    """Return ``value`` as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # a comparison of Python is exact for any integer, and false for NaN
    return float(value) if -_LARGEST_METRIC < value < _LARGEST_METRIC else None


def finite_numbers(values: Any) -> dict[str, float]:
    """Return the finite numbers of an object by name; empty if ``values`` isn't an object."""
    found: dict[str, float] = {}
    for name, value in values.items() if isinstance(values, dict) else ():
        number = finite_number(value)
        if number is not None and name.isascii() and name.isprintable() and len(name) <= _LONGEST_TEXT:
            found[name] = number
    return found
