"""``launch``: claim the results directory, join the rendezvous, run the processes of this node."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from maskrcnn_trainer.errors import (
    EXIT_KILLED,
    EXIT_OK,
    EXIT_STOPPED,
    WHAT_TO_LOWER,
    InvalidInput,
    Superseded,
    TaskError,
    TryAgain,
)
from maskrcnn_trainer.launch.logs import KeptLog, KeptLogHandler, log_file, remove_old_logs
from maskrcnn_trainer.launch.processes import Ended, NodeProcesses, is_told_by_rank_zero, most_telling
from maskrcnn_trainer.launch.rendezvous import RendezvousHost, interface_towards, join, slots_of
from maskrcnn_trainer.results.ownership import await_claim, claim, ownership_guard
from maskrcnn_trainer.shared.fingerprints import fingerprints_in
from maskrcnn_trainer.shared.messages import ArtifactKey, ResultKey, StoredArtifact, TaskFailure
from maskrcnn_trainer.shared.stop_signals import StopSignals
from maskrcnn_trainer.shared.variables import THREADS_VARIABLE, TOKEN_VARIABLE
from maskrcnn_trainer.shared.worker_group import MOST_NODES, MOST_PROCESSES, MOST_THREADS
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.task.artifacts import read_result
from maskrcnn_trainer.task.cpus import threads_per_process, usable_cpus
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.termination import termination_message, write_termination_message

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LaunchSettings:
    """Options of ``maskrcnn launch``.

    Attributes:
        nodes: number of nodes (pods) in the worker group.
        node_rank: rank of this node, from 0.
        processes: number of processes per node.
        rendezvous: host and port of node 0; required with more than one node.
        task: name of the task and its arguments.
        threads: threads per process; None: the CPUs divided by the processes.
        keep_logs: whether to write logs to ``logs/`` of the results directory too; a pod's log is deleted with the pod.
    """

    nodes: int
    node_rank: int
    processes: int
    rendezvous: tuple[str, int] | None
    task: tuple[str, ...]
    threads: int | None = None
    keep_logs: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= MOST_NODES:
            raise InvalidInput(f"--nodes {self.nodes}: must be 1 to {MOST_NODES}")
        if not 1 <= self.processes <= MOST_PROCESSES:
            raise InvalidInput(f"--processes-per-node {self.processes}: must be 1 to {MOST_PROCESSES}")
        if not 0 <= self.node_rank < self.nodes:
            raise InvalidInput(f"--node-rank {self.node_rank}: must be 0 to {self.nodes - 1} with --nodes {self.nodes}")
        if self.nodes > 1 and self.rendezvous is None:
            raise InvalidInput("--rendezvous HOST:PORT is required with --nodes above 1; HOST is node 0")
        if not self.task or not self.task[0]:
            raise InvalidInput(
                "the task is missing; give it after --, such as: maskrcnn launch -- train -e spec.yaml ..."
            )
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise InvalidInput(f"--threads-per-process {self.threads}: must be 1 to {MOST_THREADS}")
        several = [name.command for name, entry in TASKS.items() if entry.several_processes]
        if self.processes * self.nodes > 1 and self.task[0] not in several:
            raise InvalidInput(f"{self.task[0]} runs as one process; only {', '.join(several)} can use several")


def launch(  # noqa: C901 - the order of a start, in one place
    settings: LaunchSettings,
    environment: TaskEnvironment | None = None,
    *,
    prepare: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> int:
    """Run this node's processes of the task and return the exit code (see :func:`most_telling`).

    Args:
        settings: options of the command.
        environment: environment variables of the task; default: those of this process.
        prepare: called with the node's rank before several processes are started; the block that it returns is entered
            then and left after their end. It checks and stages what they have in common, so that a mistake is reported
            once and not by each process; it reports its own errors.
    """
    environment = environment or TaskEnvironment.from_environ()
    stop = _GroupStopRequest()
    kept: KeptLog | None = None
    with stop, ExitStack() as stack:
        if environment.fingerprint and environment.results_dir:
            token = _claim_unless_done(environment, settings, stop)
            if isinstance(token, int):
                return token
            os.environ[TOKEN_VARIABLE] = token
            if settings.keep_logs:
                kept = _keep_log(environment, settings, token)
                stack.callback(kept.close)
                handler = KeptLogHandler(kept, _formatter())
                logging.getLogger().addHandler(handler)
                stack.callback(logging.getLogger().removeHandler, handler)
        host: RendezvousHost | None = None
        several = settings.nodes * settings.processes > 1
        if several:
            stack.enter_context(prepare(settings.node_rank))
            _warn_of_few_cpus(settings)
        address, interface = "127.0.0.1", "lo"
        port = 0
        try:
            if several:
                if settings.node_rank == 0:
                    host = _listen(environment, settings)
                    port = host.port
                if settings.rendezvous is not None and settings.nodes > 1:
                    address, port = settings.rendezvous
                    if not join(address, port, settings.node_rank, settings.nodes, stopping=lambda: stop.asked):
                        return _say_stopped(environment, settings)
                    interface = interface_towards(address)
            if stop.asked:
                return _say_stopped(environment, settings)
            threads = threads_per_process(settings.processes, settings.threads)
            common = {THREADS_VARIABLE: str(threads), "OMP_NUM_THREADS": str(threads)}
            environments = {
                slot.rank: common | (slot.environment(address, port, interface) if several else {})
                for slot in slots_of(settings.node_rank, settings.nodes, settings.processes)
            }
            group = NodeProcesses.start(
                [sys.executable, "-m", "maskrcnn_trainer.cli", *settings.task], environments, kept
            )
            stop.group = group
            if stop.asked:
                group.stop()
            return _conclude(group.wait(), environment, settings)
        finally:
            if host is not None:
                host.close()


class _GroupStopRequest(StopSignals):
    """Stop request that sends SIGTERM to the processes at SIGTERM or SIGINT, and kills them at a second SIGINT."""

    def __init__(self) -> None:
        super().__init__()
        self.group: NodeProcesses | None = None

    def on_signal(self) -> None:
        if self.group is not None:
            if self.interrupts > 1:
                self.group.kill()
            else:
                self.group.stop()


def _listen(environment: TaskEnvironment, settings: LaunchSettings) -> RendezvousHost:
    """Start the rendezvous of the worker group on node 0; without --rendezvous, on a free local port.

    Raises:
        InvalidInput: this process cannot listen on the port.
    """
    host, (address, port) = "", ("127.0.0.1", 0)
    if settings.rendezvous is not None:
        host, port = settings.rendezvous
        address = "0.0.0.0"  # noqa: S104 - the other nodes connect to it
    try:
        return RendezvousHost.start(address, port, settings.nodes, settings.processes)
    except OSError as error:
        refused = InvalidInput(
            f"--rendezvous {host}:{port}: node 0 cannot listen on port {port} ({error.strerror}); give another port, "
            "the same on every node",
            reason="PortUnusable",
        )
        failure = TaskFailure(refused.reason, str(refused))
        message = termination_message(settings.task[0], refused.exit_code, environment, error=failure)
        write_termination_message(environment, message)
        raise refused from error


def _warn_of_few_cpus(settings: LaunchSettings) -> None:
    cpus = usable_cpus()
    if settings.processes > cpus:
        log.warning(
            "%d processes share %d CPUs and will be slow; use at most one process per CPU",
            settings.processes,
            cpus,
        )


def _claim_unless_done(environment: TaskEnvironment, settings: LaunchSettings, stop: _GroupStopRequest) -> str | int:
    """Return the token of this start, or the exit code of a launch that has nothing to run."""
    if _already_done(environment, settings):
        return EXIT_OK
    token = _claim(environment, settings, stop)
    if token is None:
        return _say_stopped(environment, settings)
    # the claim may have moved back finished results that were moved aside earlier
    return EXIT_OK if _already_done(environment, settings) else token


def _already_done(environment: TaskEnvironment, settings: LaunchSettings) -> bool:
    results_dir = str(environment.results_dir)
    result = read_result(results_dir, *environment.fingerprints)
    # claiming the directory adds fingerprints that the result lacks
    if result is None or not set(environment.fingerprints).issubset(fingerprints_in(result)):
        return False
    log.info("%s already has the results of this fingerprint; nothing to do", results_dir)
    if settings.node_rank == 0:
        artifacts = {
            name: StoredArtifact(artifact[ArtifactKey.PATH], artifact[ArtifactKey.BYTES])
            for name, artifact in result[ResultKey.ARTIFACTS].items()
        }
        message = termination_message(
            settings.task[0],
            EXIT_OK,
            environment,
            model_path=result.get(ResultKey.MODEL_PATH),
            metrics=result.get(ResultKey.METRICS),
            artifacts=artifacts,
            checkpoint_step=result.get(ResultKey.CHECKPOINT_STEP),
            report_path=result.get(ResultKey.REPORT_PATH),
            up_to_date=True,
        )
        write_termination_message(environment, message)
    return True


def _keep_log(environment: TaskEnvironment, settings: LaunchSettings, token: str) -> KeptLog:
    results_dir = Path(str(environment.results_dir))
    if settings.node_rank == 0:
        remove_old_logs(results_dir, environment.attempt)
    guard = ownership_guard(results_dir, token)

    def still_ours() -> bool:
        try:
            guard()
        except TryAgain:
            return False
        return True

    return KeptLog(log_file(results_dir, environment.attempt, settings.node_rank), still_ours)


def _formatter() -> logging.Formatter | None:
    return next((handler.formatter for handler in logging.getLogger().handlers if handler.formatter), None)


def _claim(environment: TaskEnvironment, settings: LaunchSettings, stop: _GroupStopRequest) -> str | None:
    """Return the token of this start; None if a stop was requested before node 0 claimed the directory."""
    uid = environment.experiment_uid or secrets.token_hex(8)
    results_dir = Path(str(environment.results_dir))
    if settings.node_rank == 0:
        try:
            return claim(
                results_dir,
                experiment_uid=uid,
                attempt=environment.attempt,
                fingerprint=str(environment.fingerprint),
                older_fingerprints=environment.older_fingerprints,
                created=environment.created,
                task=settings.task,
                key=environment.key,
            ).token
        except TaskError as error:
            _say_refused(error, environment, settings)
            raise
    run = await_claim(results_dir, experiment_uid=uid, attempt=environment.attempt, stopping=lambda: stop.asked)
    return run.token if run else None


def _conclude(ended: Sequence[Ended], environment: TaskEnvironment, settings: LaunchSettings) -> int:
    cause = most_telling(ended)
    if cause is None:
        return EXIT_OK
    if settings.node_rank == 0 and (not is_told_by_rank_zero(ended, cause) or cause.code == EXIT_KILLED):
        # rank 0 writes the termination message of its own failure, unless it was killed
        if cause.code == EXIT_KILLED:
            reason = "OutOfMemory"
            text = f"process {cause.rank} was killed by signal 9, probably because memory ran out. {WHAT_TO_LOWER}"
        elif cause.failure is not None:
            reason, text = cause.failure.reason, f"process {cause.rank}: {cause.failure.message}"
        else:
            reason = "ProcessFailed"
            text = f"process {cause.rank} ended with exit code {cause.code}; see its log for the cause"
        error = TaskFailure(reason, text)
        write_termination_message(
            environment, termination_message(settings.task[0], cause.code, environment, error=error)
        )
    return cause.code


def _say_refused(error: TaskError, environment: TaskEnvironment, settings: LaunchSettings) -> None:
    """Write the termination message of a start that couldn't claim its directory, unless the file is in there."""
    results_dir, termination_log = Path(str(environment.results_dir)), environment.termination_log
    if termination_log and not Path(termination_log).resolve().is_relative_to(results_dir.resolve()):
        later = error.attempt if isinstance(error, Superseded) else None
        failure = TaskFailure(error.reason, str(error), later)
        write_termination_message(
            environment, termination_message(settings.task[0], error.exit_code, environment, error=failure)
        )


def _say_stopped(environment: TaskEnvironment, settings: LaunchSettings) -> int:
    error = TaskFailure("Stopped", "stopped before the processes were started")
    write_termination_message(
        environment, termination_message(settings.task[0], EXIT_STOPPED, environment, error=error)
    )
    return EXIT_STOPPED
