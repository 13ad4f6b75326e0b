"""Processes of a worker group on this node: started together, stopped together, with one exit code."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_trainer.errors import (
    EXIT_INVALID,
    EXIT_KILLED,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_TRY_AGAIN,
    EXIT_WORKSPACE_FULL,
)
from maskrcnn_trainer.launch.logs import KeptLog, drain, follow
from maskrcnn_trainer.shared.messages import TaskFailure
from maskrcnn_trainer.shared.parent_death import end_with_parent
from maskrcnn_trainer.shared.variables import FAILURE_VARIABLE
from maskrcnn_trainer.task.failure_message import open_failure_message, read_failure_message
from maskrcnn_trainer.task.failures import WHAT_TO_LOWER

log = logging.getLogger(__name__)

# The peers of a lost process notice by themselves in two to four seconds; after that they are ended.
SECONDS_FOR_PEERS = 4.0
SECONDS_AFTER_TERM = 3.0
POLL_SECONDS = 0.1
_TOLD_BY_THE_PROCESS = (EXIT_OK, EXIT_STOPPED, EXIT_INVALID, EXIT_WORKSPACE_FULL, EXIT_TRY_AGAIN)
"""Exit codes that come with a sentence, which rank 0 logs and the others leave to us."""


@dataclass(frozen=True)
class Ended:
    """How one process ended, in the order in which they did.

    Attributes:
        rank: its rank.
        code: exit code; 128 + signal where a signal ended it.
        by_us: it was ended because another one had failed, so its code tells nothing.
        failure: why it failed, where the launcher logs that: rank 0 logs its own failure.
    """

    rank: int
    code: int
    by_us: bool = False
    failure: TaskFailure | None = None


def most_telling(ended: Sequence[Ended]) -> Ended | None:
    """The one whose code stands for all: the first 64, else 143, else any other failure but 75, else 75; None: all 0.

    A survivor of a lost peer exits with 75, so the peer's own code says more. Processes that were ended because of
    another's failure do not count.
    """
    failed = [entry for entry in ended if entry.code != EXIT_OK and not entry.by_us]
    for wanted in (EXIT_INVALID, EXIT_STOPPED):
        for entry in failed:
            if entry.code == wanted:
                return entry
    others = [entry for entry in failed if entry.code != EXIT_TRY_AGAIN]
    return next(iter(others or failed), None)


def is_told_by_rank_zero(ended: Sequence[Ended], telling: Ended) -> bool:
    """Return whether rank 0 failed with the code that counts, and so has logged and reported its own failure.

    Processes that find the same mistake end in any order.
    """
    return any(entry.rank == 0 and entry.code == telling.code and not entry.by_us for entry in ended)


class NodeProcesses:
    """The processes of this node, one per GPU (or per share of the CPUs); :meth:`start` makes them."""

    def __init__(
        self,
        processes: dict[int, subprocess.Popen[bytes]],
        failures: dict[int, int],
        logs: list[threading.Thread],
    ) -> None:
        """Take running processes and the descriptors of their failures, both by rank, and the threads of their logs."""
        self._processes = processes
        self._failures = failures
        self._logs = logs
        self._ended: list[Ended] = []
        self._ended_by_us: set[int] = set()

    @classmethod
    def start(
        cls, command: Sequence[str], environments: Mapping[int, Mapping[str, str]], kept: KeptLog | None = None
    ) -> NodeProcesses:
        """Start ``command`` once for each rank, with that rank's variables on top of our environment.

        The processes are killed when this one ends, however it does.

        Args:
            command: program and arguments.
            environments: by rank.
            kept: log that their output goes to as well; None leaves them our own output.
        """
        processes: dict[int, subprocess.Popen[bytes]] = {}
        failures: dict[int, int] = {}
        logs: list[threading.Thread] = []
        for rank, variables in environments.items():
            descriptor = failures[rank] = open_failure_message()
            environment = {**os.environ, **variables, FAILURE_VARIABLE: str(descriptor)}
            if kept is not None:
                # a pipe would hold back what was said just before a kill
                environment["PYTHONUNBUFFERED"] = "1"
            process = processes[rank] = subprocess.Popen(
                list(command),
                env=environment,
                stdout=subprocess.PIPE if kept is not None else None,
                stderr=subprocess.STDOUT if kept is not None else None,
                pass_fds=(descriptor,),
                # it takes no lock that a thread of ours may hold
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509
            )
            if kept is not None and process.stdout is not None:
                prefix = f"[{rank}] ".encode() if len(environments) > 1 else b""
                logs.append(follow(process.stdout, kept, prefix))
        return cls(processes, failures, logs)

    def stop(self) -> None:
        """Send SIGTERM to every process; they agree on the step after which they stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill every process."""
        self._signal(signal.SIGKILL)

    def wait(self) -> list[Ended]:
        """Return when all have ended; when one fails, the others are ended within ten seconds.

        What made them fail is logged once: the failure that :func:`most_telling` chooses, unless rank 0 told it.
        """
        deadline: float | None = None
        termed = False
        while self._processes:
            self._collect()
            failure = any(entry.code not in (EXIT_OK, EXIT_STOPPED) for entry in self._ended)
            if failure and self._processes:
                now = time.monotonic()
                if deadline is None:
                    deadline = now + SECONDS_FOR_PEERS
                if now >= deadline and not termed:
                    self._end_the_others(signal.SIGTERM)
                    termed, deadline = True, now + SECONDS_AFTER_TERM
                elif now >= deadline:
                    self._end_the_others(signal.SIGKILL)
                    deadline = now + SECONDS_AFTER_TERM
            if self._processes:
                time.sleep(POLL_SECONDS)
        drain(self._logs)
        telling = most_telling(self._ended)
        if telling is not None and telling.failure and not is_told_by_rank_zero(self._ended, telling):
            log.error("Process %d: %s", telling.rank, telling.failure.message)
        return self._ended

    def _collect(self) -> None:
        for rank, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[rank]
            message = read_failure_message(self._failures.pop(rank))
            entry = Ended(rank, code if code >= 0 else 128 - code, by_us=rank in self._ended_by_us, failure=message)
            self._ended.append(entry)
            if entry.code == EXIT_KILLED and not entry.by_us:
                text = "Process %d was killed by signal 9, probably because memory ran out. %s"
                log.error(text, rank, WHAT_TO_LOWER)
            elif entry.code not in _TOLD_BY_THE_PROCESS and not entry.by_us:
                log.error("Process %d ended with exit code %d", rank, entry.code)

    def _end_the_others(self, number: signal.Signals) -> None:
        log.error("Ending the other processes: %s", ", ".join(map(str, sorted(self._processes))))
        self._ended_by_us |= set(self._processes)
        self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(number)
