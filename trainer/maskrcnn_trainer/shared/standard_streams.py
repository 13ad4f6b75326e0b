"""Replacement of standard streams that were closed when the process started (``>&-`` in a shell)."""

from __future__ import annotations

import io
import os
import sys


class ClosedStream(io.TextIOWrapper):
    """Null device in place of a standard stream that was closed when the process started."""


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    Python sets such a stream to None, so code that writes to it fails. Also, the next opened file would get its
    descriptor (0 to 2) and receive the standard output or error of libraries and child processes.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            raw = io.FileIO(number, "w" if number else "r", closefd=False)
            buffer = io.BufferedWriter(raw) if number else io.BufferedReader(raw)
            setattr(sys, name, ClosedStream(buffer, encoding="utf-8", errors="backslashreplace"))
