"""Processes of a worker group on this node: started together, stopped together, with one exit code."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from maskrcnn_trainer.errors import (
    EXIT_INVALID,
    EXIT_KILLED,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_TRY_AGAIN,
    EXIT_WORKSPACE_FULL,
    WHAT_TO_LOWER,
)
from maskrcnn_trainer.launch.logs import Follower, KeptLog, drain, follow
from maskrcnn_trainer.shared.messages import TaskFailure
from maskrcnn_trainer.shared.parent_death import end_with_parent
from maskrcnn_trainer.shared.variables import FAILURE_VARIABLE, PUBLICATION_VARIABLE
from maskrcnn_trainer.task.failure_message import open_failure_message, read_failure_message
from maskrcnn_trainer.task.failures import error_of_abort

log = logging.getLogger(__name__)

# peers of a lost process fail by themselves after two to four seconds; then the launcher ends them
SECONDS_FOR_PEERS = 4.0
SECONDS_AFTER_TERM = 3.0
POLL_SECONDS = 0.1
EXIT_ABORTED = 128 + signal.SIGABRT
_EXPLAINED = (EXIT_OK, EXIT_STOPPED, EXIT_INVALID, EXIT_WORKSPACE_FULL, EXIT_TRY_AGAIN)
"""Exit codes whose cause the process reports; rank 0 logs it, other ranks send it to the launcher."""


@dataclass(frozen=True)
class Ended:
    """End of one process.

    Attributes:
        rank: rank of the process.
        code: exit code; 128 + signal if a signal ended it.
        by_us: whether the launcher ended it because another process had failed; its code has no meaning then.
        failure: cause of the failure, if the launcher has to log it; rank 0 logs its own.
        aborted: whether a library aborted it, so that it has reported nothing, whatever its rank.
    """

    rank: int
    code: int
    by_us: bool = False
    failure: TaskFailure | None = None
    aborted: bool = False


def most_telling(ended: Sequence[Ended]) -> Ended | None:
    """Return the process whose exit code is that of the launch; None if all exited with 0.

    It is the first with 64, else the first with 143, else the first with another code than 75, else the first with 75:
    the survivors of a lost peer exit with 75, so the peer's own code is more specific. Processes that the launcher
    ended after the failure of another one don't count.

    Args:
        ended: the processes in the order in which they ended.
    """
    failed = [entry for entry in ended if entry.code != EXIT_OK and not entry.by_us]
    for code in (EXIT_INVALID, EXIT_STOPPED):
        for entry in failed:
            if entry.code == code:
                return entry
    others = [entry for entry in failed if entry.code != EXIT_TRY_AGAIN]
    return next(iter(others or failed), None)


def is_told_by_rank_zero(ended: Sequence[Ended], cause: Ended) -> bool:
    """Return whether rank 0 failed with the same exit code, and so has logged and reported the failure.

    Processes that find the same mistake end in any order.
    """
    return any(
        entry.rank == 0 and entry.code == cause.code and not entry.by_us and not entry.aborted for entry in ended
    )


class NodeProcesses:
    """Processes of this node, one per GPU (or per share of the CPUs); :meth:`start` creates them."""

    def __init__(
        self,
        processes: dict[int, subprocess.Popen[bytes]],
        failures: dict[int, int],
        logs: dict[int, Follower],
    ) -> None:
        """Store running processes, their failure descriptors, and the followers of their logs, all by rank."""
        self._processes = processes
        self._failures = failures
        self._logs = logs
        self._ended: list[Ended] = []
        self._ended_by_us: set[int] = set()
        self._abandoned = threading.Event()

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        environments: Mapping[int, Mapping[str, str]],
        kept: KeptLog | None = None,
        publication: int | None = None,
    ) -> NodeProcesses:
        """Start ``command`` once for each rank, with the rank's variables added to the environment of this process.

        The kernel kills the processes when this one ends for whatever reason.

        Args:
            command: program and arguments.
            environments: environment variables by rank.
            kept: log that gets a copy of their output; None: they inherit the output of this process.
            publication: descriptor that rank 0 inherits, by which checkpoints are announced; None without one.
        """
        processes: dict[int, subprocess.Popen[bytes]] = {}
        failures: dict[int, int] = {}
        logs: dict[int, Follower] = {}
        for rank, variables in environments.items():
            descriptor = failures[rank] = open_failure_message()
            environment = {**os.environ, **variables, FAILURE_VARIABLE: str(descriptor)}
            environment.pop(PUBLICATION_VARIABLE, None)
            inherited = [descriptor]
            if rank == 0 and publication is not None:
                environment[PUBLICATION_VARIABLE] = str(publication)
                inherited.append(publication)
            if kept is not None:
                # output that is buffered for a pipe is lost when the process is killed
                environment["PYTHONUNBUFFERED"] = "1"
            process = processes[rank] = subprocess.Popen(
                list(command),
                env=environment,
                stdout=subprocess.PIPE if kept is not None else None,
                stderr=subprocess.STDOUT if kept is not None else None,
                pass_fds=inherited,
                # safe with threads: it takes no lock that one of ours may hold
                preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509 - see above
            )
            if kept is not None and process.stdout is not None:
                prefix = f"[{rank}] ".encode() if len(environments) > 1 else b""
                logs[rank] = follow(process.stdout, kept, prefix)
        return cls(processes, failures, logs)

    def stop(self) -> None:
        """Send SIGTERM to all processes; they agree on the step after which they stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all processes."""
        self._signal(signal.SIGKILL)

    def abandon(self) -> None:
        """Kill all processes, from any thread, within a fraction of a second; their exit codes have no meaning then."""
        self._abandoned.set()

    def wait(self) -> list[Ended]:
        """Wait until all processes have ended and return them; when one fails, end the others within ten seconds.

        The cause of a failure is logged once: that of :func:`most_telling`, unless rank 0 has reported it.
        """
        deadline: float | None = None
        termed = False
        while self._processes:
            self._collect()
            if self._abandoned.is_set():
                self._ended_by_us |= set(self._processes)
                self.kill()
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
        drain([follower.thread for follower in self._logs.values()])
        cause = most_telling(self._ended)
        if cause is not None and cause.failure and not is_told_by_rank_zero(self._ended, cause):
            log.error("Process %d: %s", cause.rank, cause.failure.message)
        return self._ended

    def _collect(self) -> None:
        for rank, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[rank]
            message = read_failure_message(self._failures.pop(rank))
            entry = Ended(rank, code if code >= 0 else 128 - code, by_us=rank in self._ended_by_us, failure=message)
            entry = self._explained(entry)
            self._ended.append(entry)
            if entry.code == EXIT_KILLED and not entry.by_us:
                text = "Process %d was killed by signal 9, probably because memory ran out. %s"
                log.error(text, rank, WHAT_TO_LOWER)
            elif entry.code not in _EXPLAINED and not entry.by_us:
                log.error("Process %d ended with exit code %d", rank, entry.code)

    def _explained(self, entry: Ended) -> Ended:
        """Return the end of a process that a library aborted with the exit code and the cause in its output."""
        if entry.code != EXIT_ABORTED or entry.by_us or entry.rank not in self._logs:
            return entry
        error = error_of_abort(self._logs[entry.rank].end_of_output())
        if error is None:
            return entry
        return replace(entry, code=error.exit_code, failure=TaskFailure(error.reason, str(error)), aborted=True)

    def _end_the_others(self, number: signal.Signals) -> None:
        log.error("Ending the other processes: %s", ", ".join(map(str, sorted(self._processes))))
        self._ended_by_us |= set(self._processes)
        self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            process.send_signal(number)
