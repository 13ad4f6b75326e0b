"""Launch of a task whose results are in object storage.

The step is claimed in the store, the task writes to a working copy on this machine, and what it completes is published
while it runs and once more at its end. Then the termination message is written, so that it never names a checkpoint
that only this machine has.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskrcnn_trainer.errors import (
    EXIT_OK,
    EXIT_STOPPED,
    InvalidInput,
    Superseded,
    TaskError,
    as_task_error,
    describe_error,
)
from maskrcnn_trainer.launch.claiming import claim_directory
from maskrcnn_trainer.launch.following import FollowingNode
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.left_work import find_left_work, publish_left_result
from maskrcnn_trainer.launch.log_collecting import CollectedLogs, logs_of_other_nodes
from maskrcnn_trainer.launch.log_upload import NodeLogUploads
from maskrcnn_trainer.launch.logs import KeptLog, kept_log, log_file
from maskrcnn_trainer.launch.notices import notices_of
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.launch.stop_request import GroupStopRequest
from maskrcnn_trainer.launch.stored_endings import StoredEnding
from maskrcnn_trainer.launch.working_copy import (
    local_task,
    outlasts_attempt,
    refuse_other_outputs,
    variables_set,
    working_copy,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, PublishedSet
from maskrcnn_trainer.object_store.fence_store import open_fence_store
from maskrcnn_trainer.publishing.step_claiming import StepIdentity
from maskrcnn_trainer.publishing.step_publisher import SECONDS_BETWEEN_PUBLISHES, StepPublisher
from maskrcnn_trainer.publishing.step_session import SessionStore, StepSession
from maskrcnn_trainer.shared.object_url import ObjectUrl
from maskrcnn_trainer.shared.variables import (
    RESULTS_DIR_VARIABLE,
    TERMINATION_LOG_VARIABLE,
    TOKEN_VARIABLE,
    WORKING_DIR_VARIABLE,
    WORKSPACE_URL_VARIABLE,
    WORKSPACE_VARIABLE,
)
from maskrcnn_trainer.spec.task_table import TASKS
from maskrcnn_trainer.staging.task_inputs import stores_of_command
from maskrcnn_trainer.task.environment import TaskEnvironment
from maskrcnn_trainer.task.files import make_directory
from maskrcnn_trainer.task.publication import LaunchPublication
from maskrcnn_trainer.task.scratch import ScratchLimit
from maskrcnn_trainer.task.stored_step import StoredStep

log = logging.getLogger(__name__)

FINAL_SECONDS = 300.0
"""Time after which the publish at the end of a task is given up."""
SECONDS_BETWEEN_SENTENCES = 60.0
"""Shortest time between two lines of the log about requests that are sent again."""
_LISTENER_SECONDS = 5.0

RunProcesses = Callable[[LaunchSettings, TaskEnvironment, KeptLog | None, int | None, GroupMember], int]
"""Runs the processes of a task in a directory of this node.

Its arguments are the options and the environment with that directory, the kept log, the descriptor of rank 0's channel,
and the part of this node in its worker group.
"""
OpenStore = Callable[[ObjectUrl, LaunchSettings, Callable[[], bool]], AbstractContextManager[SessionStore]]
"""Opens the store of all experiments below a URL; the last argument returns whether to stop."""


class _AtMostOneAMinute:
    """Log of sentences about failures, of which each retry of each object has one."""

    def __init__(self) -> None:
        self._again_at = float("-inf")

    def __call__(self, sentence: str) -> None:
        """Log a sentence unless another one was logged within the last minute."""
        now = time.monotonic()
        if now >= self._again_at:
            self._again_at = now + SECONDS_BETWEEN_SENTENCES
            log.info("%s", sentence)


def open_store_of_task(
    url: ObjectUrl, settings: LaunchSettings, stop: Callable[[], bool]
) -> AbstractContextManager[SessionStore]:
    """Return the store of all experiments, reached as the environment and the task's ``--store-config`` state."""
    return open_fence_store(
        url,
        stores_of_command(settings.task, os.environ),
        os.environ,
        stop=stop,
        on_wait=_AtMostOneAMinute(),
    )


def launch_stored(
    settings: LaunchSettings,
    environment: TaskEnvironment,
    stored: StoredStep,
    stop: GroupStopRequest,
    run: RunProcesses,
    *,
    open_store: OpenStore = open_store_of_task,
) -> int:
    """Run this node's processes of a task whose results are in object storage, and return the exit code.

    Only node 0 claims the step and publishes; for the others, see :mod:`maskrcnn_trainer.launch.following`.

    Args:
        settings: options of the command.
        environment: environment variables of the task.
        stored: step of the results.
        stop: request to stop.
        run: runs the processes.
        open_store: opens the store.

    Raises:
        InvalidInput: the task names another URL for its results, the store refuses, also the results of a task that
            has succeeded, or another owner has the experiment (64).
        Superseded: a later attempt has the step (75).
        TryAgain: the store has failed for too long, at the claim or at the end of a task that has succeeded (75).
        WorkspaceFull: the disk of this machine is full, or published files exceed the limit of its directory (70).
        Stopped: a signal arrived before the processes were started (143).
    """
    ending = StoredEnding(settings, environment, stored)
    try:
        _refuse_other_names(stored)
        refuse_other_outputs(settings.task, stored)
        with ExitStack() as stack:
            working_dir = stack.enter_context(working_copy(stored))
            launching = _StoredLaunch(settings, environment, stored, stop, run, working_dir, ending)
            stack.enter_context(notices_of(launching.results_dir) if settings.node_rank == 0 else nullcontext())
            store = stack.enter_context(open_store(stored.workspace_url, settings, lambda: launching.is_interrupted))
            identity = step_identity(stored, environment)
            if settings.node_rank > 0:
                return launching.follow(store, identity)
            return launching.carry_out(StepSession(store, identity, token=secrets.token_hex(16)))
    except Exception as error:
        known = as_task_error(error)
        if known is not None:
            ending.report_failure(known)
        raise


@dataclass(frozen=True)
class _WorkingCopy:
    """Working copy of a step that node 0 has claimed.

    Attributes:
        session: of this start.
        settings, environment: with the paths of the copy.
        kept: the log.
        message: file of the task's termination message, which is kept back until its results are published.
        logs: of the other nodes.
    """

    session: StepSession
    settings: LaunchSettings
    environment: TaskEnvironment
    kept: KeptLog
    message: Path
    logs: CollectedLogs


@dataclass
class _StoredLaunch:
    settings: LaunchSettings
    environment: TaskEnvironment
    stored: StoredStep
    stop: GroupStopRequest
    run: RunProcesses
    working_dir: Path
    ending: StoredEnding
    interrupted: threading.Event = field(default_factory=threading.Event)
    claiming: bool = True
    unpublished: int | None = None
    """Step of the checkpoint from which the task resumes, if it isn't published."""

    @property
    def is_interrupted(self) -> bool:
        """Return whether a request to the store must end: by a signal only before the processes are started."""
        return self.interrupted.is_set() or (self.claiming and self.stop.asked)

    @property
    def _is_kept(self) -> bool:
        return outlasts_attempt(self.stored, os.environ)

    @property
    def results_dir(self) -> Path:
        """Return the working copy of the step."""
        return self.working_dir / self.stored.experiment / self.stored.step

    def carry_out(self, session: StepSession) -> int:
        """Claim the step, run its processes unless it is done, and return the exit code."""
        scratch = ScratchLimit.from_environ(os.environ | self._variables())
        claimed = session.claim()
        if claimed.is_done and claimed.published is not None:
            self.ending.report_done(session, claimed.published)
            return EXIT_OK
        self.ending.take(claimed.published)
        others = logs_of_other_nodes(claimed.published)
        with variables_set(self._variables()):
            left = find_left_work(self.results_dir, session, claimed.published, self.environment)
        if not left.is_continued:
            if self.ending.checkpoint_step is not None:
                log.info(
                    "%s: resuming from the published checkpoint of step %d",
                    self.stored.url,
                    self.ending.checkpoint_step,
                )
            session.restore(
                claimed.published,
                self.results_dir,
                left_out=frozenset(file.path for file in others),
                before_load=scratch.refuse_loading if scratch is not None else None,
            )
        # the task's own message is kept back until its results are published
        held_back = self.results_dir.with_name(f".{self.stored.step}.termination.json")
        held_back.unlink(missing_ok=True)
        environment = replace(
            self.environment, results_dir=str(self.results_dir), stored_step=None, termination_log=str(held_back)
        )
        settings = replace(self.settings, task=local_task(self.settings.task, self.stored, self.results_dir))
        token = claim_directory(environment, settings, session.store_claim)
        if left.result is not None:
            self.claiming = False
            publish_left_result(
                self.results_dir,
                session,
                seconds=FINAL_SECONDS,
                is_kept=self._is_kept,
                others=others,
                interrupted=self.interrupted,
                on_start=self._hurried_by_interrupts,
            )
            self.ending.report_result(left.result)
            return EXIT_OK
        self.unpublished = left.checkpoint
        variables = self._variables() | {TERMINATION_LOG_VARIABLE: str(held_back), TOKEN_VARIABLE: token}
        with variables_set(variables), kept_log(environment, token, settings.node_rank) as kept:
            logs = CollectedLogs(
                session.identity.keys,
                session.claim_name,
                environment.attempt,
                settings.nodes,
                before=others,
                hurried=lambda: self.stop.abandoned or self.stop.interrupts > 1,
            )
            return self._publish_around(_WorkingCopy(session, settings, environment, kept, held_back, logs))

    def follow(self, store: SessionStore, identity: StepIdentity) -> int:
        """Run the processes of another node than node 0, and return the exit code."""
        make_directory(self.results_dir)
        environment = replace(self.environment, results_dir=str(self.results_dir), stored_step=None)
        settings = replace(self.settings, task=local_task(self.settings.task, self.stored, self.results_dir))
        log_path = log_file(self.results_dir, environment.attempt, settings.node_rank)
        node = FollowingNode(
            store,
            identity.follow_terms,
            NodeLogUploads(store, identity.keys, settings.node_rank, log_path.name),
            interrupted=self.interrupted,
            on_joined=self._started,
        )
        self.stop.on_second_interrupt = self.interrupted.set
        with variables_set(self._variables()):
            return node.run(log_path, lambda kept, member: self.run(settings, environment, kept, None, member))

    def _started(self) -> None:
        """Let requests to the store outlive a signal from now on."""
        self.claiming = False

    def _variables(self) -> dict[str, str]:
        """Return the variables with which a process finds the working copy."""
        return {
            RESULTS_DIR_VARIABLE: str(self.results_dir),
            WORKSPACE_VARIABLE: str(self.working_dir),
            WORKSPACE_URL_VARIABLE: str(self.stored.workspace_url),
            WORKING_DIR_VARIABLE: str(self.working_dir),
        }

    def _publish_around(self, copy: _WorkingCopy) -> int:
        """Run the processes and publish their results meanwhile and at the end, then write the termination message."""
        channel = LaunchPublication.open()

        def on_published(found: PublishedSet) -> None:
            self.ending.take(found)
            if self.ending.checkpoint_step is not None:
                channel.published(self.ending.checkpoint_step)

        publisher = StepPublisher(
            copy.session,
            self.results_dir,
            on_superseded=self._on_superseded,
            on_published=on_published,
            others=copy.logs.files,
            is_kept=self._is_kept,
            every_seconds=None if writes_checkpoints(copy.settings.task) else SECONDS_BETWEEN_PUBLISHES,
            interrupted=self.interrupted,
        )
        self._hurried_by_interrupts(publisher)
        with publisher:
            code, failure = self._run(copy, publisher, channel)
            if code == EXIT_STOPPED:
                # in case the publish takes longer than the grace period
                self.ending.pass_on(copy.message, code, self.working_dir)
            _finish(publisher, code)
        self.ending.pass_on(copy.message, code, self.working_dir)
        if failure is not None:
            raise failure
        return code

    def _run(
        self, copy: _WorkingCopy, publisher: StepPublisher, channel: LaunchPublication
    ) -> tuple[int, BaseException | None]:
        """Return the exit code of the processes, and the error with which their start has failed."""

        def listen() -> None:
            for step in channel.announced():
                publisher.checkpoint(step)

        if self.ending.checkpoint_step is not None:
            channel.published(self.ending.checkpoint_step)
        if self.unpublished is not None:
            publisher.checkpoint(self.unpublished)
        self._started()
        listener = threading.Thread(target=listen, name="announcements", daemon=True)
        listener.start()
        try:
            return self.run(copy.settings, copy.environment, copy.kept, channel.descriptor, copy.logs), None
        except (Exception, SystemExit) as error:  # noqa: BLE001 - raised once what exists is published
            return describe_error(error)[0], error
        finally:
            channel.release()
            listener.join(_LISTENER_SECONDS)
            channel.close()
            listener.join()

    def _hurried_by_interrupts(self, publisher: StepPublisher) -> None:
        self.stop.on_second_interrupt = lambda: publisher.hurry(0)

    def _on_superseded(self, error: TaskError) -> None:
        log.error("%s: the processes are ended, and nothing more is published", error)
        self.stop.abandon()


def step_identity(stored: StoredStep, environment: TaskEnvironment) -> StepIdentity:
    """Return the attempt as the store records it."""
    return StepIdentity(
        experiment=stored.experiment,
        step=stored.step,
        owner=OwnerIdentity(stored.owner_id, stored.owner_namespace, stored.experiment),
        created=str(environment.created),
        uid=str(environment.experiment_uid),
        attempt=environment.attempt,
        fingerprint=environment.fingerprints[0],
        take_over_from=stored.take_over_from,
    )


def writes_checkpoints(task: Sequence[str]) -> bool:
    """Return whether a task announces checkpoints, with which its other files are published."""
    return any(entry.checkpoint is not None for name, entry in TASKS.items() if name.command == task[0])


def _refuse_other_names(stored: StoredStep) -> None:
    try:
        StepKeys(stored.experiment, stored.step)
    except ValueError as error:
        raise InvalidInput(
            f"{RESULTS_DIR_VARIABLE}: the last two segments of the URL, an experiment and a step, must be letters, "
            "digits, '-', '_', and '.', a letter or digit first and last"
        ) from error


def _finish(publisher: StepPublisher, code: int) -> None:
    """Publish what exists at the end of the task.

    Raises:
        Superseded: a later attempt has the step.
        TaskError: the results of a task that has succeeded can't be published.
    """
    try:
        publisher.finish(seconds=FINAL_SECONDS)
    except Superseded:
        raise
    except Exception as error:
        known = as_task_error(error)
        if known is None or code == EXIT_OK:
            raise
        log.warning("The end of this attempt was not published: %s", known)
