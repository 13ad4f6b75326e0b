"""CPU time and peak memory of a command and of the processes that it starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS_BETWEEN_SAMPLES = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")
_LAST_BYTES = 4000


@dataclass(frozen=True)
class ProcessUse:
    """Processes of one role.

    Attributes:
        cpu: seconds, without their children; up to half a second before their end is missing.
        peak: largest resident set of one of them, in bytes.
    """

    cpu: float
    peak: int


@dataclass(frozen=True)
class CommandUse:
    """A command that has ended.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of all its processes, as the kernel has counted them.
        roles: its processes by role.
    """

    seconds: float
    cpu: float
    roles: Mapping[str, ProcessUse]


def measured_command(
    command: Sequence[str], environment: Mapping[str, str], log: Path, role_of: Callable[[Sequence[str]], str]
) -> CommandUse:
    """Run a command and return its use; exit with the end of its output if it fails.

    Args:
        command: program and arguments.
        environment: of the command.
        log: file for its output.
        role_of: returns the role of a process from its command line.
    """
    samples = _Samples(role_of)
    began = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        with samples.taken(process.pid):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.terminate()
            process.wait()
    seconds = time.perf_counter() - began
    if process.returncode:
        text = log.read_bytes()[-_LAST_BYTES:].decode(errors="replace")
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    return CommandUse(seconds, usage.ru_utime + usage.ru_stime, samples.roles())


class _Samples:
    """Newest sample of each process, taken in the background."""

    def __init__(self, role_of: Callable[[Sequence[str]], str]) -> None:
        self._role_of = role_of
        self._found: dict[int, tuple[str, ProcessUse]] = {}

    @contextlib.contextmanager
    def taken(self, pid: int) -> Iterator[None]:
        """Take samples of a process and its descendants during a block."""
        over = threading.Event()

        def take() -> None:
            while not over.wait(SECONDS_BETWEEN_SAMPLES):
                for one in _descendants(pid):
                    # it may have ended meanwhile
                    with contextlib.suppress(OSError, ValueError, KeyError):
                        self._found[one] = self._sample(one)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def roles(self) -> dict[str, ProcessUse]:
        """Return the processes by role."""
        found: dict[str, ProcessUse] = {}
        for role, use in self._found.values():
            before = found.get(role, ProcessUse(0.0, 0))
            found[role] = ProcessUse(before.cpu + use.cpu, max(before.peak, use.peak))
        return found

    def _sample(self, pid: int) -> tuple[str, ProcessUse]:
        folder = Path("/proc", str(pid))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        # the name, which is before the last parenthesis, may have spaces
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        words = (folder / "cmdline").read_text().split("\0")
        cpu = (int(times[11]) + int(times[12])) / _TICKS
        return self._role_of(words), ProcessUse(cpu, int(status["VmHWM"].split()[0]) * 1024)


def _descendants(pid: int) -> list[int]:
    """Return a process and all that it and its children have started, as far as they run."""
    found = [pid]
    with contextlib.suppress(OSError):
        for thread in Path("/proc", str(pid), "task").iterdir():
            with contextlib.suppress(OSError):
                for child in (thread / "children").read_text().split():
                    found += _descendants(int(child))
    return found
