"""``launch``: claim the results directory, join the rendezvous, run the processes of this node."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch.claiming import claim_unless_done
from maskrcnn_trainer.launch.endings import conclude, failure_message, say_stopped
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.logs import KeptLog, kept_log
from maskrcnn_trainer.launch.processes import NodeProcesses
from maskrcnn_trainer.launch.rendezvous import RendezvousBoard, RendezvousHost, interface_towards, join, slots_of
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.launch.stop_request import GroupStopRequest
from maskrcnn_trainer.launch.store_results import launch_stored
from maskrcnn_trainer.shared.variables import THREADS_VARIABLE, TOKEN_VARIABLE
from maskrcnn_trainer.task.cpus import threads_per_process, usable_cpus
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.publication import inherited_descriptor
from maskrcnn_trainer.task.termination import write_termination_message

log = logging.getLogger(__name__)

TASK_PROGRAM = (sys.executable, "-m", "maskrcnn_trainer.cli")
"""Program of the tasks, which takes the name and the arguments of one."""

Prepare = Callable[[LaunchSettings], AbstractContextManager[None]]


def launch(
    settings: LaunchSettings,
    environment: TaskEnvironment | None = None,
    *,
    prepare: Prepare = lambda _: nullcontext(),
    program: Sequence[str] = TASK_PROGRAM,
) -> int:
    """Run this node's processes of the task and return the exit code (see :func:`most_telling`).

    Args:
        settings: options of the command.
        environment: environment variables of the task; default: those of this process.
        prepare: called before several processes are started; the block that it returns is entered then and left after
            their end. It checks and stages what they have in common, so that a mistake is reported once and not by each
            process; it reports its own errors. The options that it gets have a path in place of a results directory by
            URL.
        program: program of each process, followed by the task and its arguments.
    """
    environment = environment or TaskEnvironment.from_environ(launches=True)
    with GroupStopRequest() as stop:
        run = partial(_run_processes, stop=stop, prepare=prepare, program=program)
        if environment.stored_step is not None:
            return launch_stored(settings, environment, environment.stored_step, stop, run)
        if not (environment.fingerprint and environment.results_dir):
            return run(settings, environment, None, inherited_descriptor(), GroupMember())
        token = claim_unless_done(environment, settings, stop)
        if isinstance(token, int):
            return token
        os.environ[TOKEN_VARIABLE] = token
        with kept_log(environment, token, settings.node_rank) if settings.keep_logs else nullcontext() as kept:
            return run(settings, environment, kept, inherited_descriptor(), GroupMember())


def _run_processes(
    settings: LaunchSettings,
    environment: TaskEnvironment,
    kept: KeptLog | None,
    publication: int | None,
    member: GroupMember,
    *,
    stop: GroupStopRequest,
    prepare: Prepare,
    program: Sequence[str],
) -> int:
    """Run this node's processes in a results directory that was claimed; see :func:`launch`.

    Args:
        settings: see :func:`launch`.
        environment: of the task.
        kept: log that gets a copy of their output; None: they inherit the output of this process.
        publication: descriptor of the channel for rank 0; None without one.
        member: part of this node in its worker group; called if there are several nodes.
        stop: request to stop.
        prepare: see :func:`launch`.
        program: see :func:`launch`.
    """

    def stopping() -> bool:
        member.while_waiting()
        return stop.ends_launch

    several = settings.nodes * settings.processes > 1
    address, port, interface = "127.0.0.1", 0, "lo"
    with ExitStack() as stack:
        if several:
            stack.enter_context(prepare(settings))
            _warn_of_few_cpus(settings)
            if settings.node_rank == 0:
                host = _listen(environment, settings)
                stack.callback(host.close)
                port = host.port
            if settings.rendezvous is not None and settings.nodes > 1:
                address, port = settings.rendezvous
                board = RendezvousBoard(address, port)
                # the inputs are staged, so that no process waits in hvd.init() for the staging of another node
                if not join(board, settings.node_rank, settings.nodes, stopping=stopping):
                    return say_stopped(environment, settings)
                interface = interface_towards(address)
                stack.enter_context(member.joined(board))
        if stop.ends_launch:
            return say_stopped(environment, settings)
        threads = threads_per_process(settings.processes, settings.threads)
        common = {THREADS_VARIABLE: str(threads), "OMP_NUM_THREADS": str(threads)}
        environments = {
            slot.rank: common | (slot.environment(address, port, interface) if several else {})
            for slot in slots_of(settings.node_rank, settings.nodes, settings.processes)
        }
        group = NodeProcesses.start([*program, *settings.task], environments, kept, publication)
        stop.follow(group)
        return conclude(group.wait(), environment, settings)


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
        write_termination_message(environment, failure_message(refused, environment, settings))
        raise refused from error


def _warn_of_few_cpus(settings: LaunchSettings) -> None:
    cpus = usable_cpus()
    if settings.processes > cpus:
        log.warning(
            "%d processes share %d CPUs and will be slow; use at most one process per CPU",
            settings.processes,
            cpus,
        )
