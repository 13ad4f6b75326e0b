"""Replicas of the operator as processes that are killed, frozen, and restarted."""

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
"""From an unexpected end to the next start."""
IMPORT_SECONDS = 20.0
LOG_LINES = 3


@dataclass(frozen=True)
class UnaskedEnd:
    """End of a process that no fault caused."""

    process: str
    code: int
    log: str

    @property
    def how(self) -> tuple[int, str]:
        """Return the exit code and the last line of the log, which are equal for ends of the same cause."""
        return self.code, self.log.rpartition(" | ")[2]


class Replica:
    """One replica and its successive processes. Call all methods from one thread: a process ends with its thread.

    Args:
        name: of the replica; its processes are called ``name/1``, ``name/2``, ...
        kubeconfig: of the replica; its server is the API server or a proxy.
        log: file with the logs of all its processes.
    """

    def __init__(self, name: str, kubeconfig: Path, log: Path) -> None:
        self.name, self._log = name, log
        # port 0: a port that is free now may be taken when the next process starts
        self._process = OperatorProcess(kubeconfig, None, log, ("--health-port=0",))
        self._life = 0
        self._started = 0.0
        self._running = False
        self._frozen_until: float | None = None
        self._start_at: float | None = None

    @property
    def running(self) -> bool:
        """Return whether its process exists and isn't frozen."""
        return self._running and self._frozen_until is None

    @property
    def answers_sigterm(self) -> bool:
        """Return whether the process has run long enough to have installed its SIGTERM handler."""
        return self.running and time.monotonic() - self._started > IMPORT_SECONDS

    def start(self) -> None:
        """Start the next process."""
        self._process.spawn()
        self._life += 1
        self._started, self._running, self._start_at = time.monotonic(), True, None

    def kill(self, absent: float) -> None:
        """Kill the process; the next one starts after ``absent`` seconds."""
        self._process.kill()
        self._running, self._frozen_until = False, None
        self._start_at = time.monotonic() + absent

    def freeze(self, seconds: float) -> None:
        """Stop the process (SIGSTOP) for ``seconds``."""
        self._process.process.send_signal(signal.SIGSTOP)
        self._frozen_until = time.monotonic() + seconds

    def thaw(self) -> None:
        """Resume a frozen process."""
        if self._frozen_until is not None:
            self._process.process.send_signal(signal.SIGCONT)
            self._frozen_until = None

    def tend(self) -> UnaskedEnd | None:
        """Resume or start the process if it is due; return its end if that was unexpected."""
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
        """Return the current memory of the process; None if there is no process."""
        if not self._running:
            return None
        try:
            resident = self._process.resident_bytes()
        except psutil.Error:
            return None
        return MemorySample(f"{self.name}/{self._life}", at, time.monotonic() - self._started, resident)

    def stop(self) -> int | None:
        """End the process by SIGTERM; return its exit code, None if it doesn't end in time or doesn't exist."""
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
