"""Standard streams of a process that was started with some of them closed (``>&-`` in a shell)."""

from __future__ import annotations

import io
import os
import sys


class ClosedStream(io.TextIOWrapper):
    """The null device in place of a standard stream that was closed when the process started."""


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    Python has None for such a stream, which fails in code that writes to it. The next file opened would also take its
    number, from 0 to 2, and get what libraries and child processes write to standard output and error.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            raw = io.FileIO(number, "w" if number else "r", closefd=False)
            buffer = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
            setattr(sys, name, ClosedStream(buffer, encoding="utf-8", errors="backslashreplace"))
