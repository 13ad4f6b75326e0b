"""Attempts of the stand-in task that are forked by a program of their own, so that one costs about 0.3 s of a CPU."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.object_storage.attempt_host import Order, Times
from tests.object_storage.stand_in_task import HOLDING, PROGRAM, ROOT, StandInLaunch

SECONDS = 90.0
SECONDS_TO_END = 10.0
_POLL = 0.005


class ForkedAttempt:
    """A running ``maskrcnn launch`` with its helper and its task, all in one session.

    Attributes:
        launch: settings of it.
        output: file with what it has printed.
    """

    def __init__(self, launch: StandInLaunch, output: Path) -> None:
        self.launch = launch
        self.output = output
        self._known = threading.Event()
        self._ended = threading.Event()
        self._pid = 0
        self._code = 0

    def note(self, event: dict[str, int]) -> None:
        """Take an event of the host."""
        if "pid" in event:
            self._pid = event["pid"]
            self._known.set()
        else:
            self._code = event["code"]
            self._ended.set()

    @property
    def pid(self) -> int:
        """Return the number of the process, which is that of its session and its group."""
        assert self._known.wait(SECONDS), "the attempt wasn't forked"
        return self._pid

    @property
    def has_ended(self) -> bool:
        """Return whether launch has ended."""
        return self._ended.is_set()

    @property
    def printed(self) -> str:
        """Return what was printed so far."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def wait(self, seconds: float = SECONDS) -> int:
        """Return the exit code of launch, negative for a signal."""
        assert self._ended.wait(seconds), f"the attempt didn't end within {seconds} s:\n{self.printed}"
        return self._code

    def wait_until_it_holds(self, seconds: float = SECONDS) -> None:
        """Wait until the task holds."""
        deadline = time.monotonic() + seconds
        while HOLDING not in self.printed:
            assert not self._ended.is_set(), f"the attempt ended before it held:\n{self.printed}"
            assert time.monotonic() < deadline, f"the attempt didn't hold:\n{self.printed}"
            time.sleep(_POLL)

    def kill(self) -> None:
        """Kill launch alone by SIGKILL, and wait until its helper and its task have ended with it."""
        self.send_kill()
        self.wait_until_gone()

    def send_kill(self) -> None:
        """Send SIGKILL to launch alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait_until_gone(self) -> None:
        """Wait until neither launch nor its helper nor its task runs."""
        deadline = time.monotonic() + SECONDS_TO_END
        while processes := processes_of(self.pid):
            assert time.monotonic() < deadline, f"processes {processes} have survived their launch"
            time.sleep(_POLL)

    def pause(self) -> None:
        """Stop launch, its helper, and its task by SIGSTOP."""
        os.killpg(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Continue them."""
        os.killpg(self.pid, signal.SIGCONT)


def processes_of(session: int) -> list[int]:
    """Return the processes of a session that aren't zombies."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError, IndexError, ValueError):
            # pid (name) state parent group session
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


class AttemptHost:
    """Running host of attempts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._attempts: dict[int, ForkedAttempt] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="events of attempts", daemon=True).start()

    def start(self, launch: StandInLaunch, times: Times | None = None) -> ForkedAttempt:
        """Start an attempt.

        Args:
            launch: settings of it; its directory gets a file with the output.
            times: default: short ones.
        """
        assert self._process.stdin is not None
        with self._lock:
            number = next(self._numbers)
            output = launch.directory / f"output-{number}.txt"
            attempt = self._attempts[number] = ForkedAttempt(launch, output)
            arguments = tuple(launch.command[len(PROGRAM) :])
            order = Order(number, arguments, launch.environment(), str(output), times or Times())
            self._process.stdin.write(order.to_line())
            self._process.stdin.flush()
        return attempt

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self._attempts[event["number"]].note(event)


@contextmanager
def attempt_host() -> Iterator[AttemptHost]:
    """Run a host of attempts; those that still run are killed at the end of the block."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.object_storage.attempt_host"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield AttemptHost(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(SECONDS_TO_END)
