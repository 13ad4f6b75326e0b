"""Call of a command of the trainer that ends soon, such as ``maskrcnn report``."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.local.log_end import last_line
from maskrcnn_operator.local.process import signal_group, start_process
from maskrcnn_trainer.errors import EXIT_OK

RUN_POLL_SECONDS = 0.1

MOST_WARNINGS = 5
"""Most warnings of a call that are passed on, since each object of a store that is down has one of its own."""
_LONGEST_WARNING = 1000
_READ_BYTES = 64 * 1024
_WARNING = re.compile(rb"^[0-9:]{8} WARNING +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class CallOutcome:
    """Outcome of a call.

    Attributes:
        exit_code: 128 + signal if a signal ended the process; None if it couldn't be started or was interrupted.
        problem: why it failed, in a few words; empty after a success.
        output: what it has printed.
    """

    exit_code: int | None
    problem: str
    output: bytes = b""


def call_trainer(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stopping: Callable[[], bool],
    most_bytes: int,
    on_warning: Callable[[str], None] = lambda _: None,
) -> CallOutcome:
    """Run a command of the trainer until it ends, or kill it once a stop is requested.

    Args:
        command: command line.
        environment: all its environment variables.
        stopping: returns whether a stop is requested.
        most_bytes: most bytes of the output that are returned.
        on_warning: called with each warning that the command logs, as soon as it is there; the same one only once, and
            at most five.
    """
    try:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            warnings = _Warnings(errors.fileno(), on_warning)
            code = _exit_code(start_process(command, environment, output, errors), stopping, warnings.pass_on)
            if code is None:
                return CallOutcome(None, "it was interrupted")
            output.seek(0)
            printed = output.read(most_bytes)
            if code == EXIT_OK:
                return CallOutcome(code, "", printed)
            errors.seek(0)
            line = last_line(errors.read())
    except OSError as error:
        return CallOutcome(None, f"the process couldn't be started: {error.strerror}")
    return CallOutcome(code, f"exit code {code}: {line}" if line else f"exit code {code}")


class _Warnings:
    """Warnings in the log of a process, which is read while it grows."""

    def __init__(self, descriptor: int, on_warning: Callable[[str], None]) -> None:
        self._descriptor, self._on_warning = descriptor, on_warning
        self._read = 0
        self._rest = b""
        self._seen: set[str] = set()

    def pass_on(self) -> None:
        """Pass on the new warnings."""
        # the process writes at the same offset, which a seek would move
        while new := os.pread(self._descriptor, _READ_BYTES, self._read):
            self._read += len(new)
            lines, newline, rest = (self._rest + new).rpartition(b"\n")
            self._rest = rest[-_READ_BYTES:]
            for text in _WARNING.findall(lines + newline):
                self._add(one_line(text.decode(errors="replace"), _LONGEST_WARNING))

    def _add(self, text: str) -> None:
        if text not in self._seen and len(self._seen) < MOST_WARNINGS:
            self._seen.add(text)
            self._on_warning(text)


def _exit_code(
    process: subprocess.Popen[bytes], stopping: Callable[[], bool], at_poll: Callable[[], None]
) -> int | None:
    """Return the exit code of a process, 128 + signal if a signal ended it; None if it failed after a stop request."""
    try:
        while process.poll() is None and not stopping():
            at_poll()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(RUN_POLL_SECONDS)
    finally:
        if process.poll() is None:
            signal_group(process, signal.SIGKILL)
    code = process.wait()
    if code != EXIT_OK and stopping():
        return None
    at_poll()
    return code if code >= 0 else 128 - code
