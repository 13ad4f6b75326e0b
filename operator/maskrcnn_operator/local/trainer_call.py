"""Call of a command of the trainer that ends soon, such as ``maskrcnn report``."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_operator.local.log_end import last_line
from maskrcnn_operator.local.process import signal_group, start_process
from maskrcnn_trainer.errors import EXIT_OK

RUN_POLL_SECONDS = 0.1


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
    command: Sequence[str], environment: Mapping[str, str], *, stopping: Callable[[], bool], most_bytes: int
) -> CallOutcome:
    """Run a command of the trainer until it ends, or kill it once a stop is requested.

    Args:
        command: command line.
        environment: all its environment variables.
        stopping: returns whether a stop is requested.
        most_bytes: most bytes of the output that are returned.
    """
    try:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            code = _exit_code(start_process(command, environment, output, errors), stopping)
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


def _exit_code(process: subprocess.Popen[bytes], stopping: Callable[[], bool]) -> int | None:
    """Return the exit code of a process, 128 + signal if a signal ended it; None if it failed after a stop request."""
    try:
        while process.poll() is None and not stopping():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(RUN_POLL_SECONDS)
    finally:
        if process.poll() is None:
            signal_group(process, signal.SIGKILL)
    code = process.wait()
    if code != EXIT_OK and stopping():
        return None
    return code if code >= 0 else 128 - code
