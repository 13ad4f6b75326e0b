"""Replicas of the operator as processes that are killed, frozen, and started again."""

from __future__ import annotations

import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.apiserver.invariants import MemorySample
from tests.apiserver.operator_process import OperatorProcess

RESTART_SECONDS = 3.0
"""From an end that nobody asked for to the next start."""
IMPORT_SECONDS = 20.0
LOG_LINES = 3


@dataclass(frozen=True)
class UnaskedEnd:
    """A process that ended by itself."""

    process: str
    code: int
    log: str

    @property
    def how(self) -> tuple[int, str]:
        """What ends of one cause have in common: exit code and last line of the log."""
        return self.code, self.log.rpartition(" | ")[2]


class Replica:
    """One replica and its lives. Every method is for the thread that made it: a process ends with its thread.

    Args:
        name: of the replica; its processes are called ``name/1``, ``name/2``, ...
        kubeconfig: whom it is, and by which way it reaches the API server.
        log: where the logs of all its lives go.
    """

    def __init__(self, name: str, kubeconfig: Path, log: Path) -> None:
        self.name, self._log = name, log
        # a port that is free now may be taken when the next life begins
        self._process = OperatorProcess(kubeconfig, None, log, ("--health-port=0",))
        self._life = 0
        self._started = 0.0
        self._running = False
        self._frozen_until: float | None = None
        self._start_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether its process is there and not frozen."""
        return self._running and self._frozen_until is None

    @property
    def answers_sigterm(self) -> bool:
        """Whether it runs for so long that it has taken SIGTERM over: before that, the signal ends any process."""
        return self.running and time.monotonic() - self._started > IMPORT_SECONDS

    def start(self) -> None:
        """Start the next life."""
        self._process.spawn()
        self._life += 1
        self._started, self._running, self._start_at = time.monotonic(), True, None

    def kill(self, absent: float) -> None:
        """End the process at once; it starts again after so many seconds."""
        self._process.kill()
        self._running, self._frozen_until = False, None
        self._start_at = time.monotonic() + absent

    def freeze(self, seconds: float) -> None:
        """Stop the process (SIGSTOP) for so long."""
        self._process.process.send_signal(signal.SIGSTOP)
        self._frozen_until = time.monotonic() + seconds

    def thaw(self) -> None:
        """Let a frozen process go on."""
        if self._frozen_until is not None:
            self._process.process.send_signal(signal.SIGCONT)
            self._frozen_until = None

    def tend(self) -> UnaskedEnd | None:
        """Thaw and start what is due; return an end that nobody asked for."""
        now = time.monotonic()
        if self._frozen_until is not None and now >= self._frozen_until:
            self.thaw()
        if self._start_at is not None and now >= self._start_at:
            self.start()
        code = self._process.process.poll() if self._running else None
        if code is None:
            return None
        self._running, self._frozen_until, self._start_at = False, None, now + RESTART_SECONDS
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return UnaskedEnd(f"{self.name}/{self._life}", code, " | ".join(lines))

    def memory(self, at: float) -> MemorySample | None:
        """Return what the process holds now; None without one."""
        if not self._running:
            return None
        try:
            resident = self._process.resident_bytes()
        except psutil.Error:
            return None
        return MemorySample(f"{self.name}/{self._life}", at, time.monotonic() - self._started, resident)

    def stop(self) -> int | None:
        """End it by SIGTERM; return its exit code, None where it does not end in time or was not there."""
        self.thaw()
        self._start_at = None
        if not self._running:
            return None
        self._running = False
        self._process.process.terminate()
        try:
            return self._process.process.wait(30.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return None
