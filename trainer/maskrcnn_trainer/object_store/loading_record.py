"""Record of the parts of an object that are on the disk, so that an interrupted load continues.

Parts are read at once and end in any order, so the size of the file shows nothing. The record is next to it, a line for
each part, which is appended after the part was written. A line that is cut off by a crash is ignored. An object of a
single part has no record: it is loaded as a whole or not at all.
"""

from __future__ import annotations

import os
from pathlib import Path

from maskrcnn_trainer.object_store.client import ObjectInfo, Part, parts_of

DATA = "data"
"""Name of the file with the bytes of an object of several parts, which is in a directory of its own."""


def record_of(partial: Path) -> Path:
    """Return the file of the record of a file that is loaded."""
    return partial.with_name("parts")


def missing_parts(info: ObjectInfo, partial: Path) -> list[Part]:
    """Return the parts of an object that a file lacks; all of them if it has no record.

    Args:
        info: of the object.
        partial: file that holds parts of this very object.
    """
    whole = parts_of(info, partial)
    if len(whole) == 1 or not partial.is_file():
        return whole
    done = _recorded(record_of(partial))
    return [part for part in whole if (part.start, part.end) not in done]


def recorded_bytes(partial: Path) -> int:
    """Return the bytes of the parts of a file that are recorded; 0 without the file."""
    return sum(end - start for start, end in _recorded(record_of(partial))) if partial.is_file() else 0


def record_part(part: Part) -> None:
    """Record that a part is on the disk, where it is even after the loss of power."""
    with part.path.open("rb") as stream:
        os.fdatasync(stream.fileno())
    with record_of(part.path).open("a", encoding="ascii") as stream:
        stream.write(f"{part.start} {part.end}\n")


def _recorded(path: Path) -> set[tuple[int, int]]:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return set()
    found = set()
    for line in text.split("\n")[:-1]:
        start, _, end = line.partition(" ")
        if start.isdecimal() and end.isdecimal():
            found.add((int(start), int(end)))
    return found
