"""A process that answers one request after another: requests and answers are JSON, one a line.

Pure standard library: the peers' environments import it too. An idle worker waits for a line and uses no CPU, so two of
them can take turns on one machine.
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
    """Starts a process that runs ``serve`` and talks to it.

    Args:
        command: its command line.
        environ: its environment.
        log: file that takes what it writes to stderr.
    """

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                command, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True
            )

    def ask(self, request: str, **arguments: Any) -> Any:
        """The answer to one request.

        Raises:
            SystemExit: the process ended; its log's end is in the message.
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
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


class Clock:
    """Time since it was made: by the clock, and of this process on all CPUs, which hardly depends on what else runs."""

    def __init__(self) -> None:
        self._seconds, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> dict[str, float]:
        """``seconds`` and ``cpu``."""
        return {"seconds": time.perf_counter() - self._seconds, "cpu": time.process_time() - self._cpu}


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answers requests until standard input ends; what a handler prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        answer = handlers[request.pop("request")](**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
