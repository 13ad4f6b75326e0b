"""Execution of a plan, in an order that survives a crash between any two writes.

Jobs are created before the status is written: a Job that the status does not name is found by its attempt and adopted,
while a Job that the status names and that was never created would count as lost. The status is written before anything
is deleted, so that it has the results of what is deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import (
    ApiError,
    Conflict,
    NotFound,
    is_refused_by_a_policy,
    is_refused_for_its_content,
    says_that_the_name_is_taken,
)
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, SERVICES, Resource
from maskrcnn_operator.cluster.status_writer import StatusWriter
from maskrcnn_operator.core.limits import is_still_to_be_deleted
from maskrcnn_operator.core.plan import Plan, StartRefusal, StartRun
from maskrcnn_operator.core.runs import RunKey
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.jobs.manifests import job_manifest, service_manifest
from maskrcnn_operator.jobs.names import LABEL_ATTEMPT, LABEL_EXPERIMENT, LABEL_STEP
from maskrcnn_operator.jobs.observe import RelabeledJob, is_attempt_of
from maskrcnn_operator.jobs.parse import job_view
from maskrcnn_operator.jobs.views import JobView

log = logging.getLogger(__name__)

MOST_DELETIONS = 20
"""Most Jobs deleted in one reconciliation. Any user who can create Jobs can make thousands that look like attempts of
an experiment, and a worker that deletes them all would not be available to other experiments."""


class Executor:
    """Executor of plans: creates Jobs and Services, writes statuses, and deletes.

    Args:
        config: returns the settings of all Jobs; called at every start, since the report endpoint's CA may change.
        fence: called before every write; raises if this replica may no longer write.
        now: time of day, aware.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        events: EventRecorder,
        *,
        config: Callable[[], JobConfig],
        fence: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client, self._cache, self._events = client, cache, events
        self._config, self._fence, self._now = config, fence, now
        self.statuses = StatusWriter(client, cache, fence=fence, record_event=events.record_about)

    async def start(
        self, experiment: MaskRCNNExperiment, starts: Iterable[StartRun], *, owner_id: str | None = None
    ) -> dict[str, StartRefusal]:
        """Create the Service and the Job of each attempt; return the refusals, by step.

        Args:
            experiment: the experiment that the attempts belong to.
            starts: the attempts.
            owner_id: owner of the experiment's results in object storage; None for an experiment with a claim.

        Raises:
            ApiError: the outcome is unknown, or the server is unavailable: the caller should retry.
        """
        refused: dict[str, StartRefusal] = {}
        for start in starts:
            refusal = await self._start(experiment, start, owner_id)
            if refusal is not None:
                refused[start.step] = refusal
        return refused

    async def conclude(
        self,
        experiment: MaskRCNNExperiment,
        plan: Plan,
        relabeled: Sequence[RelabeledJob] = (),
        *,
        on_written: Callable[[], None] = lambda: None,
    ) -> bool:
        """Carry out a plan except for its starts, which have been made already.

        Args:
            experiment: the experiment that the plan was made for.
            plan: the plan.
            relabeled: Jobs that must not be deleted, although their labels may be those of a run to stop or forget.
            on_written: called after the status was written, before other calls that may fail.

        Returns:
            True if all was done; False if Jobs are left to delete, so that the experiment must be reconciled again.

        Raises:
            Conflict: the experiment has changed since the plan was made, and must be reconciled again.
            StatusRefused: the API server rejects the status; only the starts were done.
        """
        metadata = experiment.metadata
        if plan.write_status:
            version = metadata.resource_version
            answer = await self.statuses.apply(metadata.namespace, metadata.name, plan.status.to_json(), version)
            self._cache.put_status(answer, experiment, plan.status)
            on_written()
        edited = False
        if plan.drop_progress:
            self._fence()
            dropped = await self._client.apply_progress(metadata.namespace, metadata.name, None)
            edited = self._cache.put_progress(dropped) is not None
        self._events.record(experiment, plan.events)
        held = {job.job.uid for job in relabeled}
        jobs = [job for job in self._jobs(experiment, (*plan.stop, *plan.forget)) if job.uid not in held]
        for job in jobs[:MOST_DELETIONS]:
            await self._delete_job(job)
        if edited:
            raise Conflict(409, "Conflict", "the experiment was edited while its plan was carried out")
        if len(jobs) > MOST_DELETIONS:
            return False
        if plan.delete_experiment:
            await self._delete_experiment(experiment)
        return True

    async def look_for(self, experiment: MaskRCNNExperiment, names: Iterable[str]) -> tuple[RelabeledJob, ...]:
        """Read Jobs that the cache lacks from the API server: only a 404 proves that a run has vanished.

        Returns:
            Jobs that still run although their labels or owner were changed. Another attempt would run next to them.
        """
        namespace = experiment.metadata.namespace
        relabeled: list[RelabeledJob] = []
        for name in names:
            try:
                found = await self._client.get(JOBS, namespace, name)
            except NotFound:
                log.info("Job %s/%s no longer exists", namespace, name)
                continue
            job = job_view(found)
            # a watch reports an object as deleted when its label is removed
            self._cache.revive(job.uid)
            self._cache.put(JOBS, found)
            step = next(step for step in experiment.status.steps if step.job_name == name)
            if not (is_attempt_of(job, experiment, step) or job.finished or job.deletion_timestamp):
                why = (
                    f"the Job {namespace}/{name} runs, but its labels or its owner were changed: restore the labels "
                    f"{LABEL_EXPERIMENT}: {experiment.metadata.name}, {LABEL_STEP}: {step.name}, {LABEL_ATTEMPT}: "
                    f"'{step.attempt}', and the owner reference to the experiment as controller, or delete the Job"
                )
                relabeled.append(RelabeledJob(job, step.name, step.attempt, why))
        return tuple(relabeled)

    async def _start(
        self, experiment: MaskRCNNExperiment, start: StartRun, owner_id: str | None
    ) -> StartRefusal | None:
        config = replace(self._config(), owner_id=owner_id)
        service = service_manifest(experiment, start.step)
        if service is not None and (start.attempt == 1 or not await self._has_service(experiment, service)):
            _, refusal = await self._create(experiment, SERVICES, service)
            if refusal is not None:
                return refusal
        job, refusal = await self._create(experiment, JOBS, job_manifest(experiment, start, config))
        if job is not None:
            self._cache.put(JOBS, job)
        return refusal

    async def _has_service(self, experiment: MaskRCNNExperiment, manifest: Mapping[str, Any]) -> bool:
        namespace, name = experiment.metadata.namespace, manifest["metadata"]["name"]
        try:
            return _is_ours(experiment, await self._client.get(SERVICES, namespace, name), manifest)
        except NotFound:
            return False

    async def _create(
        self, experiment: MaskRCNNExperiment, resource: Resource, manifest: Mapping[str, Any]
    ) -> tuple[dict[str, Any] | None, StartRefusal | None]:
        """Create an object, or return ours that exists already; else return the refusal.

        Raises:
            ApiError: the caller should retry: a Role has not reached the API server yet, a race for a quota was lost,
                or the server is unavailable.
        """
        namespace, name, kind = experiment.metadata.namespace, manifest["metadata"]["name"], manifest["kind"]
        self._fence()
        try:
            return await self._client.create(resource, namespace, manifest), None
        except ApiError as error:
            if says_that_the_name_is_taken(error):
                return await self._found(experiment, resource, manifest, error)
            if is_refused_for_its_content(error) or is_refused_by_a_policy(error):
                return None, StartRefusal(
                    Reason.JOB_REFUSED, f"the API server rejected the {kind} {name}: {error.message}"
                )
            if isinstance(error, Conflict | NotFound):
                # it is about the quota or the namespace, and does not mean that the cache is stale
                raise ApiError(error.status, error.reason, error.message, error.retry_after) from error
            raise

    async def _found(
        self, experiment: MaskRCNNExperiment, resource: Resource, manifest: Mapping[str, Any], taken: ApiError
    ) -> tuple[dict[str, Any] | None, StartRefusal | None]:
        """Return the existing object of that name if it is ours, else a refusal."""
        name = manifest["metadata"]["name"]
        try:
            found = await self._client.get(resource, experiment.metadata.namespace, name)
        except NotFound:
            # it was deleted in the meantime
            raise taken from None
        if _is_ours(experiment, found, manifest):
            return found, None
        kind = manifest["kind"]
        message = f"a {kind} named {name} exists already and is owned by another controller or user"
        return None, StartRefusal(Reason.NAME_TAKEN, message)

    def _jobs(self, experiment: MaskRCNNExperiment, keys: Iterable[RunKey]) -> list[JobView]:
        metadata, requested = experiment.metadata, set(keys)
        if not requested:
            return []
        return [
            job
            for job in self._cache.jobs_of(metadata.namespace, metadata.name)
            if job.experiment_uid == metadata.uid
            and RunKey(job.step, job.attempt) in requested
            and job.deletion_timestamp is None
        ]

    async def _delete_job(self, job: JobView) -> None:
        self._fence()
        try:
            left = await self._client.delete(JOBS, job.namespace, job.name, uid=job.uid)
        except NotFound:
            left = None
        except Conflict:
            if await self._is_there(job):
                raise
            left = None
        if left is None:
            self._cache.drop(JOBS, job.uid)
        else:
            self._cache.put(JOBS, left)

    async def _is_there(self, job: JobView) -> bool:
        """Return whether this Job still exists, and not just another one of its name."""
        try:
            found = await self._client.get(JOBS, job.namespace, job.name)
        except NotFound:
            return False
        return bool(found["metadata"]["uid"] == job.uid)

    async def _delete_experiment(self, experiment: MaskRCNNExperiment) -> None:
        """Delete an experiment whose TTL has expired, after a read of its current state: it may just have been edited.

        Raises:
            Conflict: it has changed, and must be reconciled again.
        """
        metadata = experiment.metadata
        try:
            live = await self._client.get(EXPERIMENTS, metadata.namespace, metadata.name)
        except NotFound:
            self._cache.drop(EXPERIMENTS, metadata.uid)
            return
        if live["metadata"]["uid"] != metadata.uid:
            self._cache.put(EXPERIMENTS, live)
            self._cache.drop(EXPERIMENTS, metadata.uid)
            return
        self._cache.put(EXPERIMENTS, live)
        found = self._cache.experiment(metadata.namespace, metadata.name)
        version = live["metadata"]["resourceVersion"]
        # if the API server was restored from a backup, the cache keeps the later version
        shown = found is not None and found.metadata.resource_version == version
        if found is None or not shown or not is_still_to_be_deleted(experiment, found, self._now()):
            raise Conflict(409, "Conflict", "the experiment has changed since its TTL expired")
        self._fence()
        try:
            # with Foreground, the API server would add a finalizer
            left = await self._client.delete(
                EXPERIMENTS,
                metadata.namespace,
                metadata.name,
                uid=metadata.uid,
                resource_version=version,
                propagation="Background",
            )
        except NotFound:
            left = None
        if left is None or not left["metadata"].get("finalizers"):
            self._cache.drop(EXPERIMENTS, metadata.uid)
        else:
            self._cache.put(EXPERIMENTS, left)


def _is_ours(experiment: MaskRCNNExperiment, found: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Return whether an existing object is the one that we were about to create."""
    metadata, expected = found["metadata"], manifest["metadata"].get("labels") or {}
    owners = metadata.get("ownerReferences") or ()
    owned = any(owner.get("controller") and owner.get("uid") == experiment.metadata.uid for owner in owners)
    return owned and (metadata.get("labels") or {}).get(LABEL_ATTEMPT) == expected.get(LABEL_ATTEMPT)
