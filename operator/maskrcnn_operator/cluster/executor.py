"""Carries a plan out, in the order that survives a crash between any two writes.

Jobs before the status: a Job that the status does not know is found by its attempt and taken for what it is, while a
status that promises a Job which was never made would read as a lost one. The status before anything is removed: what is
removed has been accounted for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, SERVICES, Resource
from maskrcnn_operator.core.plan import Plan, Refusal, StartRun
from maskrcnn_operator.core.runs import RunKey
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.jobs.manifests import job_manifest, service_manifest
from maskrcnn_operator.jobs.names import LABEL_ATTEMPT
from maskrcnn_operator.jobs.views import JobView

log = logging.getLogger(__name__)

_NOT_ACCEPTED = frozenset({400, 403, 413, 422})
"""Statuses by which the API server refuses an object as it is: invalid, forbidden by a quota or a policy, too large."""


class Executor:
    """Jobs, Services, statuses and deletions of experiments.

    Args:
        config: what Jobs have in common, read at every start, since the report endpoint's certificate may change.
        fence: called before every write; raises where this replica may no longer write.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        events: EventRecorder,
        *,
        config: Callable[[], JobConfig],
        fence: Callable[[], None],
    ) -> None:
        self._client, self._cache, self._events = client, cache, events
        self._config, self._fence = config, fence

    async def start(self, experiment: MaskRCNNExperiment, starts: Iterable[StartRun]) -> dict[str, Refusal]:
        """Makes the Service and the Job of each attempt; by step, those that could not be made.

        Raises:
            ApiError: nobody knows, or the server is not well: the same is to be tried again.
        """
        refused: dict[str, Refusal] = {}
        for start in starts:
            refusal = await self._start(experiment, start)
            if refusal is not None:
                refused[start.step] = refusal
        return refused

    async def conclude(self, experiment: MaskRCNNExperiment, plan: Plan) -> None:
        """Everything of a plan but its starts, which have been made.

        Raises:
            Conflict: the experiment has changed since the plan was made; nothing but the starts was done.
        """
        metadata = experiment.metadata
        if plan.write_status:
            version = metadata.resource_version
            answer = await self.write_status(metadata.namespace, metadata.name, plan.status.to_json(), version)
            self._cache.put_status(answer, experiment, plan.status)
        if plan.drop_progress:
            self._fence()
            self._cache.put(EXPERIMENTS, await self._client.apply_progress(metadata.namespace, metadata.name, None))
        self._events.tell(experiment, plan.events)
        for job in self._jobs(experiment, (*plan.stop, *plan.forget)):
            await self._delete_job(job)
        if plan.delete_experiment:
            await self._delete_experiment(experiment)

    async def write_status(
        self, namespace: str, name: str, status: dict[str, Any], resource_version: str
    ) -> Mapping[str, Any]:
        """Applies a status, its progress apart; returns the object's new metadata.

        Raises:
            Conflict: it was computed from an old object.
        """
        self._fence()
        status.pop("progress", None)
        answer = await self._client.apply_status(namespace, name, status, resource_version)
        metadata: Mapping[str, Any] = answer["metadata"]
        return metadata

    async def look_for(self, namespace: str, names: Iterable[str]) -> None:
        """Asks for Jobs that the cache lacks: a run counts as vanished only when the API server says so."""
        for name in names:
            try:
                self._cache.put(JOBS, await self._client.get(JOBS, namespace, name))
            except NotFound:
                log.info("The Job %s/%s is gone", namespace, name)

    async def _start(self, experiment: MaskRCNNExperiment, start: StartRun) -> Refusal | None:
        config = self._config()
        service = service_manifest(experiment, start.step, config)
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
    ) -> tuple[dict[str, Any] | None, Refusal | None]:
        """What was made, or is there and ours; else why not."""
        namespace, name, kind = experiment.metadata.namespace, manifest["metadata"]["name"], manifest["kind"]
        self._fence()
        try:
            return await self._client.create(resource, namespace, manifest), None
        except Conflict:
            found = await self._client.get(resource, namespace, name)
            if _is_ours(experiment, found, manifest):
                return found, None
            return None, Refusal(Reason.NAME_TAKEN, f"a {kind} called {name} is there and belongs to somebody else")
        except ApiError as error:
            if error.status not in _NOT_ACCEPTED:
                raise
            return None, Refusal(Reason.JOB_REFUSED, f"the {kind} {name} was refused: {error.message}")

    def _jobs(self, experiment: MaskRCNNExperiment, keys: Iterable[RunKey]) -> list[JobView]:
        metadata, wanted = experiment.metadata, set(keys)
        if not wanted:
            return []
        return [
            job
            for job in self._cache.jobs_of(metadata.namespace, metadata.name)
            if job.experiment_uid == metadata.uid
            and RunKey(job.step, job.attempt) in wanted
            and job.deletion_timestamp is None
        ]

    async def _delete_job(self, job: JobView) -> None:
        self._fence()
        try:
            left = await self._client.delete(JOBS, job.namespace, job.name, uid=job.uid)
        except (NotFound, Conflict):
            left = None
        if left is None:
            self._cache.drop(JOBS, job.uid)
        else:
            self._cache.put(JOBS, left)

    async def _delete_experiment(self, experiment: MaskRCNNExperiment) -> None:
        metadata = experiment.metadata
        self._fence()
        try:
            # in the foreground the API server would add a finalizer
            left = await self._client.delete(
                EXPERIMENTS, metadata.namespace, metadata.name, uid=metadata.uid, propagation="Background"
            )
        except (NotFound, Conflict):
            left = None
        if left is None or not left["metadata"].get("finalizers"):
            self._cache.drop(EXPERIMENTS, metadata.uid)
        else:
            self._cache.put(EXPERIMENTS, left)


def _is_ours(experiment: MaskRCNNExperiment, found: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether an object that is there already is the one that we were about to make."""
    metadata, wanted = found["metadata"], manifest["metadata"].get("labels") or {}
    owners = metadata.get("ownerReferences") or ()
    owned = any(owner.get("controller") and owner.get("uid") == experiment.metadata.uid for owner in owners)
    return owned and (metadata.get("labels") or {}).get(LABEL_ATTEMPT) == wanted.get(LABEL_ATTEMPT)
