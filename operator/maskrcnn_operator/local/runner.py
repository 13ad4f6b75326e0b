"""Main loop of a local run: observe, reconcile, start and stop processes, show progress."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ConditionType, ExperimentStatus, Progress, StepState, StepStatus
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.edits import without_fingerprint_that_lacks_a_field
from maskrcnn_operator.core.plan import Plan, Settings
from maskrcnn_operator.core.progress import progress_of
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.retries import resumed
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.local.display import Display
from maskrcnn_operator.local.executor import STAGING, LocalExecutor
from maskrcnn_operator.local.paths import LocalWorkspace, without_ours
from maskrcnn_operator.local.process import UNCLAIMED_LOGS, clear_staging
from maskrcnn_operator.local.published_steps import PublishedExperiment, published_experiment, refuse_another_owner
from maskrcnn_operator.local.results import finished_result
from maskrcnn_operator.local.store import EXPERIMENT_STATUS_FILE, LOCK_FILE, StatusStore
from maskrcnn_operator.local.store_workspace import WORKING_FILES, StoreOptions
from maskrcnn_operator.local.trainer_call import RUN_POLL_SECONDS
from maskrcnn_operator.local.working_files import keep_working_files
from maskrcnn_trainer.errors import EXIT_INVALID, EXIT_OK, EXIT_STOPPED, InvalidInput, TryAgain
from maskrcnn_trainer.shared.stop_signals import StopSignals
from maskrcnn_trainer.shared.variables import NO_GPU_VARIABLES

log = logging.getLogger(__name__)

EXIT_STEP_FAILED = 1
EXIT_INTERRUPTED = 130
PROGRESS_INTERVAL = timedelta(seconds=2)

LOCAL_SETTINGS = Settings(max_parallel_steps=1, keep_last_run=timedelta())


class Interrupts(StopSignals):
    """SIGINT and SIGTERM during a run: the first one stops steps after a checkpoint, a later Ctrl-C kills them."""

    @property
    def kill(self) -> bool:
        """Return whether a SIGINT followed another signal."""
        return self.interrupts > (self.first is signal.SIGINT)


@dataclass(frozen=True)
class ExperimentOutcome:
    """Outcome of a run.

    Attributes:
        exit_code: of the command.
        status: of the experiment at the end.
        logs: newest log by step of which an attempt was started.
        interrupted: whether a signal to stop was received.
    """

    exit_code: int
    status: ExperimentStatus
    logs: dict[str, Path]
    interrupted: bool = False


def run_experiment(
    experiment: MaskRCNNExperiment,
    workspace: LocalWorkspace,
    display: Display,
    *,
    trainer: Sequence[str],
    key: str | None = None,
    inputs: Mapping[str, str] = MappingProxyType({}),
    store_options: StoreOptions = StoreOptions(),  # noqa: B008 - frozen
    settings: Settings = LOCAL_SETTINGS,
) -> ExperimentOutcome:
    """Run an experiment on this machine until it succeeds, no step can run anymore, or it is interrupted.

    Args:
        experiment: as it was read from the manifest.
        workspace: maps the manifest's paths to this machine.
        display: shows status, progress, and events.
        trainer: the command ``maskrcnn``.
        key: the encryption key if the experiment uses one, else None.
        inputs: variables of inputs by URL (:func:`maskrcnn_operator.local.input_variables.input_variables`).
        store_options: options of a workspace in object storage.
        settings: limits of the reconciliation.

    Raises:
        InvalidInput: another process runs the experiment, its status file is invalid, a file that a run writes is a
            link, or the results in object storage are another owner's.
        TryAgain: results in object storage can't be checked.
    """
    directory = workspace.home(experiment.name)
    _refuse_links(directory)
    store = StatusStore(directory, experiment.name, url=workspace.url, owner_id=store_options.owner_id)
    with store, Interrupts() as interrupts:
        clear_staging(directory / STAGING)
        published: PublishedExperiment | None = None
        if workspace.url is not None:
            published = _published(
                workspace.url,
                store,
                take_over_from=store_options.take_over_from,
                trainer=trainer,
                inputs=inputs,
                stopping=lambda: interrupts.asked,
            )

        def has_result(step: StepStatus) -> bool:
            if workspace.url is not None:
                # after a stop request nothing starts, so that the status stays as it is
                return published is None or published.has(step)
            directory = workspace.step_directory(experiment.name, step.name)
            return finished_result(directory, step.fingerprints[-1:], workspace) is not None

        executor = LocalExecutor(
            experiment,
            workspace,
            identity=store.identity,
            trainer=trainer,
            key=key,
            inputs=inputs,
            take_over_from=store_options.take_over_from,
        )
        status = _status_to_resume(experiment, store.status, workspace, has_result)
        if workspace.url is not None:
            unfinished = {step.name for step in experiment.spec.steps} - {
                step.name for step in status.steps if step.state is StepState.SUCCEEDED
            }
            keep_working_files(workspace.experiment_directory(experiment.name), unfinished)
        loop = _Loop(
            experiment.with_status(status),
            executor=executor,
            store=store,
            display=display,
            interrupts=interrupts,
            settings=settings,
        )
        try:
            final = loop.run()
        finally:
            executor.kill()
            clear_staging(directory / STAGING)
        return ExperimentOutcome(
            exit_code(final, interrupts.first), final, dict(executor.logs), interrupted=interrupts.asked
        )


def _refuse_links(directory: Path) -> None:
    for name in (LOCK_FILE, EXPERIMENT_STATUS_FILE, STAGING, UNCLAIMED_LOGS, WORKING_FILES):
        if (directory / name).is_symlink():
            raise InvalidInput(
                f"{directory / name} is a link, and a run would write to the link's target: remove the link"
            )


def exit_code(status: ExperimentStatus, interrupted: signal.Signals | None) -> int:
    """Return the exit code of the command, see :func:`maskrcnn_operator.local.command.run`.

    Args:
        status: at the end of the run.
        interrupted: the first signal, or None.
    """
    if status.is_true(ConditionType.SUCCEEDED):
        return EXIT_OK
    if interrupted is not None:
        return EXIT_INTERRUPTED if interrupted is signal.SIGINT else EXIT_STOPPED
    failed = [step for step in status.steps if step.state is StepState.FAILED]
    succeeded = status.condition(ConditionType.SUCCEEDED)
    if succeeded is None or succeeded.status == "Unknown":
        return EXIT_INVALID
    return EXIT_INVALID if all(step.exit_code == EXIT_INVALID for step in failed) else EXIT_STEP_FAILED


def _published(
    url: str,
    store: StatusStore,
    *,
    take_over_from: str | None,
    trainer: Sequence[str],
    inputs: Mapping[str, str],
    stopping: Callable[[], bool],
) -> PublishedExperiment | None:
    """Return what the store has of the experiment; None if a stop was requested before it answered.

    Raises:
        InvalidInput: the experiment is another owner's.
        InvalidInput, TryAgain: the store doesn't answer, and the status has succeeded steps.
    """
    environment = {**without_ours(os.environ), **inputs, **NO_GPU_VARIABLES}
    try:
        found = published_experiment(url, store.name, trainer=trainer, environment=environment, stopping=stopping)
    except (InvalidInput, TryAgain) as error:
        if any(step.state is StepState.SUCCEEDED for step in store.status.steps):
            raise
        # the claim of the first step decides
        log.warning("%s", error)
        return None
    if found is not None:
        owner_id = store.identity.owner_id
        refuse_another_owner(found, url, store.name, owner_id=owner_id, take_over_from=take_over_from)
    return found


def _status_to_resume(
    experiment: MaskRCNNExperiment,
    status: ExperimentStatus,
    workspace: LocalWorkspace,
    has_result: Callable[[StepStatus], bool],
) -> ExperimentStatus:
    """Return the recorded status, without successes whose results are gone, and with new restarts for failed steps."""
    desired = resolve(experiment)
    steps: list[StepStatus] = []
    for step in status.steps:
        kept = resumed(step)
        known = not desired.problems and step.name in desired.graph.nodes
        if known:
            # the manifest may have been edited since the last run, and a local run has no generation that shows it
            kept = without_fingerprint_that_lacks_a_field(kept, experiment.step(step.name))
        if kept.state is StepState.SUCCEEDED and known and kept.fingerprint:
            if not has_result(kept):
                place = workspace.results_argument(experiment.name, step.name)
                log.warning("%s: its result in %s is missing or incomplete; the step runs again", step.name, place)
                kept = StepStatus(name=step.name, attempt=step.attempt)
        elif kept.state in LIVE_STATES:
            # the processes of an earlier run ended with it
            update = {"state": StepState.PENDING, "next_attempt_time": None, "active_since": None}
            kept = kept.model_copy(update=update)
        elif kept.state is StepState.PENDING:
            kept = kept.model_copy(update={"next_attempt_time": None})
        steps.append(kept)
    return status.model_copy(update={"steps": tuple(steps), "active_since": None, "progress": None})


class _Loop:
    def __init__(
        self,
        experiment: MaskRCNNExperiment,
        *,
        executor: LocalExecutor,
        store: StatusStore,
        display: Display,
        interrupts: Interrupts,
        settings: Settings,
    ) -> None:
        self.experiment, self.executor, self.store = experiment, executor, store
        self.display, self.interrupts, self.settings = display, interrupts, settings
        self.progress: dict[str, Progress] = {}
        self.written = datetime.min.replace(tzinfo=UTC)
        self.warned = False

    def run(self) -> ExperimentStatus:
        wake_at: datetime | None = None
        seen: object = None
        while True:
            now = datetime.now(UTC)
            self._handle_signals()
            runs = self._observe(now)
            signature = (tuple(runs), self.interrupts.first)
            if signature != seen or (wake_at is not None and wake_at <= now):
                plan = self._reconcile(runs, now)
                wake_at, seen = plan.wake_at, signature
                if self._finished(plan):
                    return plan.status
                if plan.start or plan.forget:
                    seen = None
                    continue
            self.display.update(self.experiment.status, self.progress, now)
            time.sleep(RUN_POLL_SECONDS)

    def _handle_signals(self) -> None:
        if self.interrupts.first is not None and not self.warned:
            self.warned = True
            log.warning("Stopping after a checkpoint; press Ctrl-C again to stop immediately")
        if self.interrupts.kill:
            self.executor.kill()

    def _observe(self, now: datetime) -> list[Run]:
        runs = self.executor.observe()
        live = {run.step for run in runs if run.live}
        for step, record in self.executor.new_records():
            newer = progress_of(step, record, self.progress.get(step), now.replace(microsecond=0))
            if newer is not None:
                self.progress[step] = newer
        self.progress = {step: progress for step, progress in self.progress.items() if step in live}
        status = self.experiment.status
        shown = self.progress.get(status.current_step or "")
        if shown is not None and shown != status.progress and now - self.written >= PROGRESS_INTERVAL:
            self._write(status.model_copy(update={"progress": shown}), now)
        return [
            replace(run, checkpoint_step=self.progress[run.step].checkpoint_step) if run.step in self.progress else run
            for run in runs
        ]

    def _reconcile(self, runs: list[Run], now: datetime) -> Plan:
        experiment = self.experiment.suspended(True) if self.interrupts.first is not None else self.experiment
        plan = reconcile(experiment, runs, now, self.settings)
        # the status is written first: if the run is killed in between, the next one uses a new attempt number
        if plan.status != self.store.status:
            self._write(plan.status, now)
        self.experiment = self.experiment.with_status(plan.status)
        for start in plan.start:
            self.executor.start(start)
        for key in plan.stop:
            self.executor.stop(key)
        for key in plan.forget:
            self.executor.forget(key)
        # in a local run, suspension means that the command was interrupted, which is already logged
        silent = {Reason.SUSPENDED.value, Reason.RESUMED.value}
        ready = plan.status.condition(ConditionType.READY)
        if ready is not None and plan.status.is_true(ConditionType.STALLED):
            silent.add(ready.reason)  # the command's final message reports it
        for event in plan.events:
            if event.reason not in silent:
                self.display.show(event)
        return plan

    def _finished(self, plan: Plan) -> bool:
        if self.executor.busy or plan.start:
            return False
        status = plan.status
        if any(step.state in LIVE_STATES for step in status.steps):
            return False
        return any(
            status.is_true(kind) for kind in (ConditionType.SUCCEEDED, ConditionType.STALLED, ConditionType.SUSPENDED)
        )

    def _write(self, status: ExperimentStatus, now: datetime) -> None:
        self.store.write(status)
        self.experiment = self.experiment.with_status(status)
        self.written = now
