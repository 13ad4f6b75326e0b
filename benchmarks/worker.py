"""Worker process that handles requests sequentially; requests and responses are JSON, one per line.

It uses only the standard library, because the peer's environment imports it too. An idle worker waits for a line and
uses no CPU, so several workers can alternate on one machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Worker:
    """Client of a process that runs ``serve``.

    Args:
        command: command line of the process.
        environ: environment variables of the process.
        log: file to which the process's stderr is appended.
    """

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                command, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True
            )

    def ask(self, request: str, **arguments: Any) -> Any:
        """Send one request and return the response.

        Raises:
            SystemExit: the process ended; the message has the end of its log.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the worker has no pipes")
        try:
            self._process.stdin.write(json.dumps({"request": request, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            tail = self._log.read_text(errors="replace")[-3000:]
            sys.exit(f"{self._process.args!r} ended at {request!r}; the end of {self._log}:\n{tail}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Clock:
    """Clock of the wall time and of this process's CPU time, which hardly depends on other work on the machine."""

    def __init__(self) -> None:
        self._seconds, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float]:
        """Return the ``seconds`` and the ``cpu`` seconds since the clock was created."""
        return {"seconds": time.perf_counter() - self._seconds, "cpu": time.process_time() - self._cpu}


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Respond to requests until standard input ends; the output of handlers goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        answer = handlers[request.pop("request")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
