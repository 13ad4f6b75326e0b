"""Why a process of a group failed, passed to its launcher, so that one mistake is told once for all processes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "MASKRCNN_LAST_WORD_FD"


@dataclass(frozen=True)
class LastWord:
    """The failure of a process.

    Attributes:
        reason: one CamelCase word, such as ``InvalidData``.
        message: a sentence for the user.
    """

    reason: str
    message: str


def open_last_word() -> int:
    """Return a descriptor of a file in memory that a child inherits; VARIABLE names it to the child."""
    return os.memfd_create("last-word")


def hand_over(word: LastWord) -> bool:
    """Write the failure to the launcher's descriptor; False where there is no launcher that tells it."""
    descriptor = os.environ.get(VARIABLE, "")
    if not (descriptor.isascii() and descriptor.isdecimal()):
        return False
    try:
        os.pwrite(int(descriptor), json.dumps(asdict(word)).encode(), 0)
    except OSError:
        return False
    return True


def read_last_word(descriptor: int) -> LastWord | None:
    """Return what the child wrote, or None; close the descriptor."""
    try:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
    try:
        return LastWord(**json.loads(text)) if text else None
    except (ValueError, TypeError):  # cut off by a kill
        return None
