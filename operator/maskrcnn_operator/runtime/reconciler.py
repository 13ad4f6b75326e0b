"""Reconciliation of one experiment: observe it, make a plan, and carry it out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import LIVE_STATES, ConditionType, ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.cluster.access_modes import AccessModes
from maskrcnn_operator.cluster.cache import Cache, ExperimentEntry
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.executor import Executor
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.namespace_owners import NamespaceOwners
from maskrcnn_operator.cluster.optional_reads import FAILED_READ_SECONDS
from maskrcnn_operator.cluster.unreadable import report_on_unreadable
from maskrcnn_operator.core.claims import cache_claim
from maskrcnn_operator.core.desired import DesiredState
from maskrcnn_operator.core.notice import Notice, raw_conditions
from maskrcnn_operator.core.plan import Plan, Settings, StartRefusal
from maskrcnn_operator.core.reconcile import reconcile, seen
from maskrcnn_operator.jobs.attempt import lost_later
from maskrcnn_operator.jobs.observe import RelabeledJob, have_ended, missing_jobs, observe
from maskrcnn_operator.metrics import process as metrics
from maskrcnn_operator.runtime.event_reader import EventReader
from maskrcnn_operator.runtime.patience import Patience

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """Return the time of day, aware."""
    return datetime.now(UTC)


class Reconciler:
    """Reconciler of experiments, which moves their actual state toward the desired state.

    Args:
        settings: settings for :func:`maskrcnn_operator.core.reconcile.reconcile`, except those of the workspace.
        patience: decides when a status reports that its experiment cannot be reconciled.
        reader: reads why Jobs and pods do not start; None to read no events.
    """

    def __init__(
        self,
        cache: Cache,
        executor: Executor,
        access_modes: AccessModes,
        owners: NamespaceOwners,
        settings: Settings,
        *,
        now: Callable[[], datetime] = utc_now,
        patience: Patience | None = None,
        reader: EventReader | None = None,
    ) -> None:
        self._cache, self._executor = cache, executor
        self._access_modes, self._owners = access_modes, owners
        self._settings, self._now = settings, now
        self._patience = Patience() if patience is None else patience
        self._reader = reader

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile an experiment; return the seconds until the next reconciliation without a change, None for never.

        Raises:
            ApiError: a call failed; Conflict if the cache was stale.
        """
        entry = self._cache.entry(key)
        if entry is None:
            self._patience.succeeded(key)
            return None
        try:
            wait = await self._reconcile_entry(key, entry)
        except ApiError as error:
            await self._report_failure(key, entry, error)
            raise
        self._patience.succeeded(key)
        return wait

    async def _reconcile_entry(self, key: Key, entry: ExperimentEntry) -> float | None:
        if entry.experiment is None:
            return await self._report_unreadable(key, entry)
        experiment = entry.experiment
        if experiment.metadata.deletion_timestamp is not None:
            return None
        # before anything is awaited: the problems of the entry belong to it, and a later entry may have none
        desired = self._cache.desired(experiment)
        missing = missing_jobs(experiment, self._cache.jobs_of(*key))
        relabeled = await self._executor.look_for(experiment, missing) if missing else ()
        try:
            plan, wake_at = await self._start(key, experiment, desired, relabeled)
        except ApiError:
            if experiment.status.observed_generation is None:
                await self._executor.conclude(experiment, seen(experiment, self._now(), desired))
            raise
        # report the changes once the status is written, even if a later deletion fails
        done = await self._executor.conclude(
            experiment, plan, relabeled, on_written=lambda: _record_changes(experiment, plan)
        )
        if not done:
            return 0.0
        return None if wake_at is None else max(0.0, (wake_at - self._now()).total_seconds())

    async def _report_unreadable(self, key: Key, entry: ExperimentEntry) -> float | None:
        now = self._now()
        jobs, pods = self._cache.jobs_of(*key), self._cache.pods_of(*key)
        report = report_on_unreadable(entry, now, nothing_runs=have_ended(jobs, pods, now))
        if isinstance(report, Notice):
            await self._executor.statuses.report(key, report, entry, now)
        elif report is not None:
            await self._executor.statuses.apply(*key, report, str(entry.version))
        lost = lost_later(pods, now)
        return None if lost is None else (lost - now).total_seconds()

    async def _report_failure(self, key: Key, entry: ExperimentEntry, error: ApiError) -> None:
        """Report in the status that reconciling fails, once it has failed for a while."""
        notice = self._patience.failed(key, entry, error, _reasons(self._cache.entry(key)))
        if notice is None:
            return
        try:
            if await self._executor.statuses.report(key, notice, entry, self._now()):
                self._patience.reported(key, notice, error)
        except ApiError as again:
            log.info("Could not report the failed reconciliation in the status either: %s", again)

    async def _start(
        self, key: Key, experiment: MaskRCNNExperiment, desired: DesiredState, relabeled: Sequence[RelabeledJob]
    ) -> tuple[Plan, datetime | None]:
        """Make a plan and carry out its starts; return the plan and when to look again.

        If a start is refused, the plan is made again with that refusal. Each step is refused at most once.
        """
        settings = await self._settings_of(experiment, desired)
        refused: dict[str, StartRefusal] = {}
        while True:
            now = self._now()
            jobs, pods = self._cache.jobs_of(*key), self._cache.pods_of(*key)
            causes = self._reader.causes if self._reader is not None else {}
            seen = observe(experiment, jobs, pods, now, relabeled, causes=causes)
            plan = reconcile(experiment, seen.runs, now, settings, desired, lingering=seen.lingering, refused=refused)
            more = await self._executor.start(experiment, plan.start, owner_id=settings.owner_id)
            if not more:
                if self._reader is not None:
                    self._reader.request(key, seen.to_read)
                times = [at for at in (plan.wake_at, seen.wake_at) if at is not None]
                if self._reads_have_failed(experiment, desired):
                    times.append(now + timedelta(seconds=FAILED_READ_SECONDS))
                return plan, min(times, default=None)
            refused |= more

    def _reads_have_failed(self, experiment: MaskRCNNExperiment, desired: DesiredState) -> bool:
        """Return whether what :meth:`_settings_of` lacks may be known soon."""
        if _finished(experiment):
            return False
        namespace, workspace = experiment.metadata.namespace, experiment.spec.workspace
        claims = (workspace.claim_name, cache_claim(experiment, desired))
        return any(claim is not None and self._access_modes.has_failed(namespace, claim) for claim in claims) or (
            workspace.url is not None and self._owners.has_failed(namespace)
        )

    async def _settings_of(self, experiment: MaskRCNNExperiment, desired: DesiredState) -> Settings:
        """Return the settings with what is known of the claims that the experiment's pods mount, or of the owner."""
        if _finished(experiment):
            return self._settings
        workspace = experiment.spec.workspace.claim_name
        cache = cache_claim(experiment, desired)
        return replace(
            self._settings,
            workspace_shared=workspace is None
            or await self._access_modes.shared(experiment.metadata.namespace, workspace),
            cache_shared=cache is None or await self._access_modes.shared(experiment.metadata.namespace, cache),
            owner_id=None if experiment.spec.workspace.url is None else await self._owners.owner_of(experiment),
        )


def _reasons(entry: ExperimentEntry | None) -> set[str]:
    """Return the reasons of an experiment's conditions."""
    if entry is None:
        return set()
    if entry.experiment is None:
        return {str(condition.get("reason")) for condition in raw_conditions(entry.raw or {})}
    return {condition.reason for condition in entry.experiment.status.conditions}


def _finished(experiment: MaskRCNNExperiment) -> bool:
    """Return whether no more steps will start, so that neither claims nor the owner are read."""
    succeeded = experiment.status.condition(ConditionType.SUCCEEDED)
    current = experiment.status.observed_generation == experiment.metadata.generation
    return current and succeeded is not None and succeeded.status == "True"


def _duration(step: StepStatus) -> float | None:
    """Return the seconds from the start of a step's first attempt to its end; None without an attempt."""
    if step.start_time is None or step.completion_time is None:
        return None
    return (step.completion_time - step.start_time).total_seconds()


def _record_changes(experiment: MaskRCNNExperiment, plan: Plan) -> None:
    """Count and log the changes in a written status.

    A write from an outdated state is rejected as a conflict. So all replicas together count each change of a stored
    status once: neither a restart nor another leader counts the writes of another process.
    """
    before: ExperimentStatus = experiment.status
    tasks = {step.name: step.task_name.value for step in experiment.spec.steps}
    for step in plan.status.steps:
        old = before.step(step.name)
        was = old.state if old is not None else StepState.PENDING
        if step.state is was:
            continue
        if step.state in (StepState.SUCCEEDED, StepState.FAILED):
            metrics.step_ended(tasks[step.name], step.state.value, _duration(step))
        elif was in LIVE_STATES and step.state is StepState.PENDING and step.next_attempt_time is not None:
            metrics.step_restarted(step.reason)
        log.info(
            "Step %s: %s -> %s (%s)%s",
            step.name,
            was.value,
            step.state.value,
            step.reason,
            f": {step.message}" if step.message else "",
            extra={"step": step.name, "attempt": step.attempt},
        )
