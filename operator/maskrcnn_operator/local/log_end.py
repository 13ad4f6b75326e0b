"""End of a task's log, which has the reason why the task failed."""

from __future__ import annotations

import re

from maskrcnn_operator.api.text import one_line

END_OF_LOG = 4000
"""Bytes at the end of a log in which its last line is searched."""

_TIME_AND_LEVEL = re.compile(r"^[0-9:]{8} [A-Z]+ +")


def last_line(log: bytes) -> str:
    """Return the last line of a log that isn't blank, without its time and level; empty if there is none."""
    lines = [line for line in log[-END_OF_LOG:].decode(errors="replace").splitlines() if line.strip()]
    return one_line(_TIME_AND_LEVEL.sub("", lines[-1]), END_OF_LOG) if lines else ""
