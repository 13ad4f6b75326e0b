"""Client of the supervisor of a bed's servers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SUPERVISOR = Path(__file__).with_name("supervisor.py")
SOCKET = "supervisor.sock"
START_SECONDS = 30.0


class SupervisionError(Exception):
    """Failure of a command, or end of the supervisor."""


class Supervision:
    """Client of the supervisor of one folder.

    Any process may send commands; the servers end with the process that called :meth:`start`.

    Args:
        folder: of the servers' logs and of the supervisor's socket; removed at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the supervisor."""
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", str(SUPERVISOR), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # On Ctrl-C the terminal signals the test run only, which then ends the bed.
        )
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / SOCKET).exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SupervisionError("the supervisor of the servers didn't start")
            time.sleep(0.01)

    def end(self) -> None:
        """End the supervisor, which ends every server and removes the folder."""
        assert self.process and self.process.stdin, "only the process that started the supervisor can end it"
        self.process.stdin.close()
        self.process.wait()

    def command(self, **command: Any) -> dict[str, Any]:
        """Send one command and return its answer (see ``supervisor.py``).

        Raises:
            SupervisionError: the supervisor has ended, or the command failed.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.folder / SOCKET))
                connection.sendall(json.dumps(command).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    line = answers.readline()
        except OSError as error:
            raise SupervisionError(f"the supervisor of the servers has ended: {error}") from error
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the supervisor of the servers has ended"}
        if "error" in answer:
            raise SupervisionError(answer["error"])
        return answer
