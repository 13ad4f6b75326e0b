"""Reconciliation of an experiment while the API server fails, or its status cannot be written or read."""

from __future__ import annotations

import asyncio
import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cluster.conftest import EXPERIMENT, FakeServer

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.errors import ApiError, Conflict, StatusRefused, api_error
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.executor import MOST_DELETIONS, Executor
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.reconcile import seen
from maskrcnn_operator.jobs.causes import WaitCause
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.runtime.event_reader import EventReader
from maskrcnn_operator.runtime.options import cluster_settings
from maskrcnn_operator.runtime.patience import PATIENCE_SECONDS, REFUSALS_UNTIL_REPORTED, Patience
from maskrcnn_operator.runtime.reconciler import Reconciler

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = Key("ns", "nuclei")


class Claims:
    """Access modes by which all claims are shared, except those in ``not_shared``."""

    def __init__(self) -> None:
        self.not_shared, self.failed, self.read = set[str](), set[str](), list[tuple[str, str]]()

    async def shared(self, namespace: str, claim: str) -> bool | None:
        self.read.append((namespace, claim))
        return None if claim in self.failed else claim not in self.not_shared

    def has_failed(self, _: str, claim: str) -> bool:
        return claim in self.failed


class Owners:
    """Owner of the results of all experiments; ``read`` has those for which it was read."""

    def __init__(self) -> None:
        self.owner_id: str | None = "uid-of-ns"
        self.failed = False
        self.read = list[str]()

    async def owner_of(self, experiment: MaskRCNNExperiment) -> str | None:
        self.read.append(experiment.metadata.name)
        return self.owner_id

    def has_failed(self, _: str) -> bool:
        return self.failed


class Stage:
    """Reconciler, and its experiment on the server.

    Args:
        server: server of an earlier replica; None for a new one with an experiment.
    """

    def __init__(self, server: FakeServer | None = None) -> None:
        self.server, self.cache, self.clock, self.leading = server or FakeServer(), Cache(), 0.0, True
        self.now, self.heard = NOW, list[Key]()
        self.reader = EventReader(self.server, self.heard.append, lambda: self.now)  # type: ignore[arg-type]
        self.executor = Executor(
            self.server,  # type: ignore[arg-type]
            self.cache,
            EventRecorder(self.server, "here"),  # type: ignore[arg-type]
            config=lambda: JobConfig(default_image="trainer:1"),
            fence=self._fence,
            now=lambda: NOW,
        )
        self.claims, self.owners = Claims(), Owners()
        self.reconciler = Reconciler(
            self.cache,
            self.executor,
            self.claims,  # type: ignore[arg-type]
            self.owners,  # type: ignore[arg-type]
            cluster_settings("trainer:1"),
            now=lambda: self.now,
            patience=Patience(lambda: self.clock),
            reader=self.reader,
        )
        if server is None:
            self.server.add(EXPERIMENTS, "ns", copy.deepcopy(EXPERIMENT))
        self.cache.put(EXPERIMENTS, copy.deepcopy(self.stored))

    def put(self, experiment: dict[str, Any]) -> None:
        self.cache.put(EXPERIMENTS, self.server.add(EXPERIMENTS, "ns", experiment))

    def put_version(self) -> dict[str, Any]:
        """Return the experiment after a write that changes only its version."""
        return self.server.add(EXPERIMENTS, "ns", self.stored)

    async def look(self) -> float | None:
        """Reconcile, and return the seconds until the next time."""
        return await self.reconciler.reconcile(KEY)

    async def fail(self, verb: str, plural: str, error: ApiError) -> None:
        """Reconcile while a call fails."""
        self.server.fail[verb, plural] = [error]
        with pytest.raises(ApiError) as caught:
            await self.look()
        assert caught.value.status == error.status

    @property
    def stored(self) -> dict[str, Any]:
        return self.server.objects["maskrcnnexperiments", "ns", "nuclei"]

    @property
    def reasons(self) -> dict[str, str]:
        return {item["type"]: item["reason"] for item in self.stored.get("status", {}).get("conditions", ())}

    @property
    def steps(self) -> str:
        return json.dumps(self.stored["status"]["steps"])

    def _fence(self) -> None:
        if not self.leading:
            raise RuntimeError("does not lead")


@pytest.fixture
async def stage() -> Stage:
    """Return a stage whose experiment has been seen and not started."""
    found = Stage()
    experiment = found.cache.experiment(*KEY)
    assert experiment is not None
    await found.executor.conclude(experiment, seen(experiment, NOW, resolve(experiment)))
    return found


UNAVAILABLE = ApiError(503, "ServiceUnavailable", "no")
DENIED = ApiError(403, "Forbidden", 'jobs.batch is forbidden: User "o" cannot create resource "jobs" in API group ""')
INVALID = ApiError(422, "Invalid", "status.steps[0].exitCode: Invalid value")


async def test_first_run_that_cannot_be_started_leaves_a_status() -> None:
    stage = Stage()
    await stage.fail("create", "services", UNAVAILABLE)
    assert stage.reasons == {"Reconciling": "Pending", "Succeeded": "Pending", "Ready": "Pending"}
    written = [write for write in stage.server.writes if write[0] == "patch"]
    await stage.fail("create", "services", UNAVAILABLE)
    assert [write for write in stage.server.writes if write[0] == "patch"] == written
    await stage.look()
    assert stage.reasons["Ready"] == "Starting"


@pytest.mark.parametrize("error", [UNAVAILABLE, DENIED])
async def test_failure_of_two_minutes_is_reported_until_the_server_works(stage: Stage, error: ApiError) -> None:
    steps = stage.steps
    await stage.fail("create", "jobs", error)
    assert stage.reasons["Ready"] == "Pending"
    stage.clock = PATIENCE_SECONDS
    await stage.fail("create", "jobs", error)
    assert (stage.reasons["Reconciling"], stage.reasons["Ready"]) == ("ApiServerError", "ApiServerError")
    assert stage.steps == steps
    stage.server.writes.clear()
    await stage.fail("create", "jobs", api_error(error.status, error.reason, f"{error.message}, still"))
    assert ("patch", "conditions", "nuclei") not in stage.server.writes
    await stage.look()
    assert (stage.reasons["Reconciling"], stage.reasons["Ready"]) == ("Starting", "Starting")


async def test_notice_that_is_refused_too_leaves_the_failure_as_it_was(stage: Stage) -> None:
    await stage.fail("create", "jobs", UNAVAILABLE)
    stage.clock = PATIENCE_SECONDS
    stage.server.fail["merge", "maskrcnnexperiments"] = [ApiError(500, "InternalError", "no")]
    await stage.fail("create", "jobs", UNAVAILABLE)
    assert stage.reasons["Ready"] == "Pending"
    await stage.fail("create", "jobs", UNAVAILABLE)
    assert stage.reasons["Ready"] == "ApiServerError"


async def test_successful_reconciliation_restarts_the_count(stage: Stage) -> None:
    await stage.fail("create", "services", UNAVAILABLE)
    await stage.look()
    stage.clock = PATIENCE_SECONDS
    [job] = [job for job in stage.server.objects if job[0] == "jobs"]
    stage.cache.drop(JOBS, stage.server.objects.pop(job)["metadata"]["uid"])
    await stage.fail("get", "jobs", UNAVAILABLE)
    assert stage.reasons["Ready"] == "Starting"


async def test_changed_experiment_is_not_a_failure(stage: Stage) -> None:
    for _ in range(5):
        stage.clock += PATIENCE_SECONDS
        stage.server.fail["patch", "maskrcnnexperiments"] = [Conflict(409, "Conflict", "modified")]
        with pytest.raises(Conflict):
            await stage.look()
    assert stage.reasons["Ready"] == "Pending"


async def test_status_refused_three_times_is_stalled_until_one_is_accepted(stage: Stage) -> None:
    steps = stage.steps
    for number in range(REFUSALS_UNTIL_REPORTED):
        assert "Stalled" not in stage.reasons, number
        stage.server.fail["patch", "maskrcnnexperiments"] = [INVALID]
        with pytest.raises(StatusRefused):
            await stage.look()
    assert (stage.reasons["Stalled"], stage.reasons["Ready"]) == ("StatusRefused", "StatusRefused")
    assert "Reconciling" not in stage.reasons
    assert stage.steps == steps
    stage.server.writes.clear()
    await stage.fail("patch", "maskrcnnexperiments", INVALID)
    assert stage.server.writes == []
    await stage.look()
    assert "Stalled" not in stage.reasons
    assert stage.reasons["Ready"] == "Starting"
    # the attempt was started only once, although its status was rejected
    assert len([plural for plural, _, _ in stage.server.objects if plural == "jobs"]) == 1


async def test_restarted_replica_removes_the_notice_too(stage: Stage) -> None:
    for _ in range(REFUSALS_UNTIL_REPORTED):
        await stage.fail("patch", "maskrcnnexperiments", INVALID)
    await Stage(stage.server).look()
    assert "Stalled" not in stage.reasons


async def test_unreadable_spec_is_reported_once_and_nothing_runs(stage: Stage) -> None:
    experiment = stage.stored
    experiment["spec"]["steps"] = []
    experiment["metadata"]["generation"] = 2
    stage.put(experiment)
    steps = stage.steps
    stage.server.writes.clear()
    await stage.look()
    stage.cache.put(EXPERIMENTS, copy.deepcopy(stage.stored))
    await stage.look()
    assert stage.server.writes == [("patch", "status", "nuclei")]
    assert stage.reasons["Stalled"] == "InvalidSpec"
    assert [step["name"] for step in json.loads(steps)] == [step["name"] for step in json.loads(stage.steps)]


async def test_experiment_with_wrong_overrides_of_a_step_can_be_suspended(stage: Stage) -> None:
    await stage.look()
    [job] = stage.cache.jobs_of(*KEY)
    experiment = copy.deepcopy(stage.stored)
    experiment["spec"]["steps"][1]["podOverrides"] = {"nodeSelecter": {}}
    experiment["metadata"]["generation"] = 2
    stage.put(experiment)
    await stage.look()
    stage.put(stage.stored)
    await stage.look()
    assert (stage.reasons["Stalled"], json.loads(stage.steps)[0]["state"]) == ("InvalidSpec", "Starting")
    [said] = {item["message"] for item in stage.stored["status"]["conditions"]}
    assert said.startswith("spec.steps[1].podOverrides.nodeSelecter: unknown field")
    assert stage.cache.job(job.uid) == job
    experiment = copy.deepcopy(stage.stored)
    experiment["spec"]["suspend"] = True
    experiment["metadata"]["generation"] = 3
    stage.put(experiment)
    await stage.look()
    stopped = stage.cache.job(job.uid)
    assert stopped is not None
    assert stopped.deletion_timestamp is not None


async def test_unreadable_status_keeps_its_steps_and_nothing_runs(stage: Stage) -> None:
    experiment = stage.stored
    experiment["status"]["steps"][0] |= {"state": "Checkpointing", "results": {"of": "a later release"}}
    stage.put(experiment)
    steps = stage.steps
    stage.server.writes.clear()
    await stage.look()
    await stage.look()
    assert stage.server.writes == [("patch", "conditions", "nuclei")]
    assert stage.steps == steps
    assert (stage.reasons["Stalled"], stage.reasons["Ready"]) == ("StatusUnreadable", "StatusUnreadable")


async def test_undecodable_object_is_reported_once_and_keeps_its_steps(stage: Stage) -> None:
    stage.stored["metadata"]["generation"] = 2
    stage.cache.put_undecodable(stage.put_version()["metadata"])
    steps = stage.steps
    stage.server.writes.clear()
    await stage.look()
    await stage.look()
    stage.cache.put_undecodable(stage.put_version()["metadata"])
    await stage.look()
    assert stage.server.writes == [("patch", "conditions", "nuclei")]
    assert stage.steps == steps
    assert stage.reasons["Stalled"] == "InvalidSpec"


async def test_experiment_continues_when_its_status_is_readable_again(stage: Stage) -> None:
    experiment = stage.stored
    experiment["status"]["steps"][0]["state"] = "Checkpointing"
    stage.put(experiment)
    await stage.look()
    experiment = stage.stored
    experiment["status"]["steps"][0]["state"] = "Pending"
    stage.put(experiment)
    await stage.look()
    assert "Stalled" not in stage.reasons
    assert stage.reasons["Ready"] == "Starting"


async def test_failures_of_a_deleted_experiment_are_forgotten(stage: Stage) -> None:
    await stage.fail("create", "jobs", UNAVAILABLE)
    stage.cache.drop(EXPERIMENTS, stage.stored["metadata"]["uid"])
    await stage.look()
    assert len(stage.reconciler._patience) == 0


async def test_experiment_with_jobs_left_to_delete_is_reconciled_at_once(stage: Stage) -> None:
    await stage.look()
    [job] = stage.cache.jobs_of(*KEY)
    made = stage.server.objects["jobs", "ns", job.name]
    for number in range(MOST_DELETIONS):
        copied = {**made["metadata"], "name": f"forged-{number}", "uid": f"forged-{number}"}
        stage.cache.put(JOBS, stage.server.add(JOBS, "ns", {**made, "metadata": copied}))
    edited = copy.deepcopy(stage.stored)
    edited["spec"]["suspend"] = True
    edited["metadata"]["generation"] = 2
    stage.put(edited)
    assert await stage.reconciler.reconcile(KEY) == 0.0
    assert await stage.reconciler.reconcile(KEY) != 0.0
    assert all(job.deletion_timestamp is not None for job in stage.cache.jobs_of(*KEY))


async def started_without_pods(stage: Stage) -> str:
    """Start the training, whose Job creates no pods; return the Job's uid."""
    await stage.look()
    [job] = [item for (plural, _, _), item in stage.server.objects.items() if plural == "jobs"]
    job["status"] = {"startTime": "2026-01-01T12:00:00Z"}
    stage.cache.put(JOBS, stage.server.add(JOBS, "ns", job))
    stage.now = NOW + timedelta(seconds=15)
    return str(job["metadata"]["uid"])


async def test_job_without_pods_is_reported_after_its_events_were_read(stage: Stage) -> None:
    uid = await started_without_pods(stage)
    stage.server.events[uid] = [
        {
            "type": "Warning",
            "reason": "FailedCreate",
            "message": 'Error creating: pods "x" is forbidden: exceeded quota',
            "lastTimestamp": "2026-01-01T12:00:01Z",
        }
    ]
    reading = asyncio.create_task(stage.reader.run())
    wait = await stage.reconciler.reconcile(KEY)
    assert (wait, stage.server.reads) == (None, [])
    for _ in range(10):
        await asyncio.sleep(0)
    assert (stage.server.reads, stage.heard) == ([("list", "events", uid)], [KEY])
    assert await stage.reconciler.reconcile(KEY) == 30.0
    step = json.loads(stage.steps)[0]
    assert (step["state"], step["reason"]) == ("Starting", "FailedCreate")
    assert step["message"] == "2 of 2 pods: exceeded quota"
    assert stage.reasons["Ready"] == "Starting"
    reading.cancel()


async def test_restart_of_the_operator_repeats_no_events(stage: Stage) -> None:
    uid = await started_without_pods(stage)
    stage.reader._causes[uid] = WaitCause(NOW, stage.now, Reason.FAILED_CREATE, "exceeded quota")
    await stage.look()
    assert json.loads(stage.steps)[0]["reason"] == "FailedCreate"
    later = Stage(stage.server)
    later.now = stage.now
    for (plural, _, _), item in stage.server.objects.items():
        if plural == "jobs":
            later.cache.put(JOBS, copy.deepcopy(item))
    stage.server.writes.clear()
    await later.look()
    assert stage.server.writes == []


async def test_reconciliation_does_not_wait_for_unreadable_events(stage: Stage) -> None:
    uid = await started_without_pods(stage)
    steps = stage.steps
    stage.server.fail["list", "events"] = [DENIED]
    await stage.look()
    reading = asyncio.create_task(stage.reader.run())
    for _ in range(10):
        await asyncio.sleep(0)
    assert stage.heard == [KEY]
    assert await stage.reconciler.reconcile(KEY) == 30.0
    assert stage.steps == steps
    assert len(stage.reconciler._patience) == 0
    assert uid in stage.reader.causes
    reading.cancel()
