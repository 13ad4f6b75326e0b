"""Bounded reading of result files, and checked values of their JSON."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from maskrcnn_trainer.shared.files import open_regular

MIB = 1 << 20
LONGEST_TEXT = 2000
"""Characters of a text that is taken over; paths have at most 4,095 bytes, and most a hundred."""

MOST_PROBLEMS, LONGEST_PROBLEM = 3, 300
"""Problems of an error in a note, and the characters of each."""

_LARGEST = 1e300


class Unreadable(Exception):
    """Input of a report that can't be read; the text is a sentence for the page that names the file."""


class NotRecorded(Unreadable):
    """Input that doesn't exist, such as a file that an earlier release doesn't write."""


def shown_path(path: Path) -> str:
    """Return a file with its directory, as the notes of a report name it."""
    return f"{path.parent.name}/{path.name}"


def one_sentence(error: Exception) -> str:
    """Return the text of an error as one sentence, with at most ``MOST_PROBLEMS`` of the problems that it lists."""
    first, *problems = str(error).splitlines() or [type(error).__name__]
    shown = [first[:LONGEST_PROBLEM], *(line.strip()[:LONGEST_PROBLEM] for line in problems[:MOST_PROBLEMS])]
    listed = [line.rstrip(".;") for line in shown] + ["and others"] * (len(problems) > MOST_PROBLEMS)
    return f"{listed[0]}{' ' if problems else ''}{'; '.join(listed[1:])}."


def read_bytes(path: Path, limit: int, *, name: str | None = None) -> bytes:
    """Return the content of a plain file.

    Args:
        path: the file; links are followed.
        limit: maximum size in bytes.
        name: of the file in messages; by default, the file with its directory.

    Raises:
        NotRecorded: there is no such file.
        Unreadable: it is larger, isn't a plain file, or can't be read.
    """
    name = name or shown_path(path)
    try:
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise Unreadable(f"{name} has {size:,} bytes; a report reads at most {limit:,} bytes of it.")
            # one more, to notice a file that grows; of what was asked for, memory is taken
            content = stream.read(size + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotRecorded(f"{name} doesn't exist.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise Unreadable(f"{name} can't be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(content) > size:
        raise Unreadable(f"{name} grew while it was read.")
    return content


def read_json(path: Path, limit: int) -> Any:
    """Return the JSON value of a file; see :func:`read_bytes`.

    Raises:
        NotRecorded: there is no such file.
        Unreadable: it can't be read or isn't JSON.
    """
    try:
        return json.loads(read_bytes(path, limit))
    except (ValueError, RecursionError):
        raise Unreadable(f"{shown_path(path)} isn't valid JSON.") from None


def read_object(path: Path, limit: int) -> dict[str, Any]:
    """Return the JSON object of a file; see :func:`read_json`.

    Raises:
        NotRecorded: there is no such file.
        Unreadable: it can't be read or holds another value.
    """
    content = read_json(path, limit)
    if not isinstance(content, dict):
        raise Unreadable(f"{shown_path(path)} isn't a JSON object.")
    return content


def number(value: Any) -> float | None:
    """Return a JSON number as a finite float; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LARGEST < value < _LARGEST:
        return None
    return float(value)


def whole(value: Any) -> int | None:
    """Return a JSON number that is a whole number of at least 0; None for any other value."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and math.floor(found) == found else None


def text(value: Any) -> str | None:
    """Return a JSON string that isn't empty, at most ``LONGEST_TEXT`` characters of it; None for any other value."""
    return value[:LONGEST_TEXT] if isinstance(value, str) and value else None


def numbers(value: Any) -> dict[str, float]:
    """Return the members of a JSON object that are finite numbers; empty for any other value."""
    if not isinstance(value, dict):
        return {}
    found = {name: number(one) for name, one in value.items() if len(name) <= LONGEST_TEXT}
    return {name: one for name, one in found.items() if one is not None}


def texts(value: Any) -> dict[str, str]:
    """Return the members of a JSON object that are strings; empty for any other value."""
    if not isinstance(value, dict):
        return {}
    found = {name: text(one) for name, one in value.items() if len(name) <= LONGEST_TEXT}
    return {name: one for name, one in found.items() if one is not None}
