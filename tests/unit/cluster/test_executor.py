"""Plans carried out: the order, what is there already, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound, StatusRefused, api_error
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.executor import MOST_DELETIONS, Executor
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import Event, Plan
from maskrcnn_operator.core.reconcile import reconcile, seen
from maskrcnn_operator.core.runs import RunKey
from maskrcnn_operator.jobs.config import JobConfig, run_name
from maskrcnn_operator.jobs.names import LABEL_ATTEMPT, LABEL_EXPERIMENT, LABEL_STEP, service_name
from maskrcnn_operator.jobs.observe import missing_jobs, observe
from maskrcnn_operator.runtime.options import cluster_settings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Stage:
    """An executor with its surroundings."""

    def __init__(self, server: FakeServer, experiment: dict[str, Any]) -> None:
        self.server, self.cache = server, Cache()
        self.events = EventRecorder(server, "here")  # type: ignore[arg-type]
        self.leading = True
        self.executor = Executor(
            server,  # type: ignore[arg-type]
            self.cache,
            self.events,
            config=lambda: JobConfig(default_image="trainer:1"),
            fence=self._fence,
            now=lambda: NOW,
        )
        self.cache.put(EXPERIMENTS, server.add(EXPERIMENTS, "ns", experiment))

    @property
    def experiment(self) -> MaskRCNNExperiment:
        found = self.cache.experiment("ns", "nuclei")
        assert found is not None
        return found

    def plan(self) -> Plan:
        seen = observe(self.experiment, self.cache.jobs_of("ns", "nuclei"), self.cache.pods_of("ns", "nuclei"), NOW)
        return reconcile(self.experiment, seen.runs, NOW, cluster_settings("trainer:1"), lingering=seen.lingering)

    async def step(self) -> dict[str, Any]:
        """One look: what was refused."""
        experiment, plan = self.experiment, self.plan()
        refused = await self.executor.start(experiment, plan.start)
        if not refused:
            await self.executor.conclude(experiment, plan)
        return refused

    async def see(self) -> None:
        """Write the first status of an experiment whose Jobs cannot be created yet."""
        await self.executor.conclude(self.experiment, seen(self.experiment, NOW, resolve(self.experiment)))

    def _fence(self) -> None:
        if not self.leading:
            raise RuntimeError("does not lead")


@pytest.fixture
def stage(server: FakeServer, experiment_object: dict[str, Any]) -> Stage:
    return Stage(server, experiment_object)


async def test_a_gangs_first_attempt_is_three_writes_in_this_order(stage: Stage) -> None:
    await stage.step()
    name = run_name(stage.experiment, "train", 1)
    assert [(verb, plural) for verb, plural, _ in stage.server.writes] == [
        ("create", "services"),
        ("create", "jobs"),
        ("patch", "status"),
    ]
    assert stage.server.writes[1][2] == name
    stage.server.writes.clear()
    await stage.step()
    assert stage.server.writes == []


async def test_status_is_written_without_empty_values_and_read_as_it_was(stage: Stage) -> None:
    await stage.step()
    stored = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    values = [value for part in (stored["status"], *stored["status"]["steps"]) for value in part.values()]
    assert values
    assert not [value for value in values if value in ("", [], {})]
    late = Cache()
    late.put(EXPERIMENTS, stored)
    read = late.experiment("ns", "nuclei")
    assert read is not None
    assert read.status == stage.experiment.status


async def test_our_own_writes_are_known_at_once(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    assert (job.step, job.attempt, job.experiment_uid) == ("train", 1, "exp-1")
    step = stage.experiment.status.step("train")
    assert step is not None
    assert step.job_name == job.name


async def test_a_stale_status_is_dropped_and_its_job_taken_up(stage: Stage) -> None:
    await stage.see()
    # somebody edits the experiment, which no watch has told yet
    moved = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    stage.server.add(EXPERIMENTS, "ns", moved)
    with pytest.raises(Conflict):
        await stage.step()
    assert len(stage.cache.jobs_of("ns", "nuclei")) == 1
    step = stage.experiment.status.step("train")
    assert step is not None and step.attempt == 0
    stage.cache.put(EXPERIMENTS, stage.server.objects["maskrcnnexperiments", "ns", "nuclei"])
    stage.server.writes.clear()
    await stage.step()
    assert stage.server.writes == [("patch", "status", "nuclei")]
    step = stage.experiment.status.step("train")
    assert step is not None and (step.attempt, step.restarts, step.disruptions) == (1, 0, 0)


async def test_a_job_that_is_there_already_is_ours_by_uid_and_attempt(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    # the same once more, by a process that has seen nothing of it
    late = Stage.__new__(Stage)
    late.__dict__.update(stage.__dict__)
    late.cache.drop(JOBS, late.cache.jobs_of("ns", "nuclei")[0].uid)
    late.cache._gone.clear()
    refused = await late.executor.start(late.experiment, await first_start(stage))
    assert refused == {}
    assert len(late.cache.jobs_of("ns", "nuclei")) == 1


async def first_start(stage: Stage) -> Any:
    blank = stage.experiment.with_status(type(stage.experiment.status)(observed_generation=1))
    return reconcile(blank, (), NOW, cluster_settings("trainer:1")).start


@pytest.mark.parametrize("there", [True, False])
async def test_later_attempt_makes_the_service_only_where_it_is_missing(stage: Stage, there: bool) -> None:
    await stage.see()
    await stage.step()
    [start] = await first_start(stage)
    if not there:
        del stage.server.objects["services", "ns", service_name("nuclei", "train", "exp-1")]
    stage.server.writes.clear()
    assert await stage.executor.start(stage.experiment, [replace(start, attempt=2)]) == {}
    made = [plural for _, plural, _ in stage.server.writes]
    assert made == (["jobs"] if there else ["services", "jobs"])


async def test_events_of_a_plan_are_posted_once_its_status_is_written(stage: Stage) -> None:
    event = Event("Normal", "StepStarted", "step train: attempt 1")
    plan = Plan(stage.experiment.status, events=(event,))
    stage.server.fail["patch", "maskrcnnexperiments"] = [ApiError(503, "ServiceUnavailable", "no")]
    with pytest.raises(ApiError):
        await stage.executor.conclude(stage.experiment, plan)
    await stage.events.flush()
    assert stage.server.writes == []
    await stage.executor.conclude(stage.experiment, plan)
    await stage.events.flush()
    assert [plural for _, plural, _ in stage.server.writes] == ["status", "events"]


@pytest.mark.parametrize(
    "stranger",
    [
        {"labels": {LABEL_ATTEMPT: "1"}},
        {"ownerReferences": []},
        {"labels": {LABEL_ATTEMPT: "1"}, "ownerReferences": [{"uid": "exp-1"}]},
        {"labels": {LABEL_ATTEMPT: "2"}, "ownerReferences": [{"uid": "exp-1", "controller": True}]},
    ],
    ids=["no owner", "no labels", "not controlled", "another attempt"],
)
async def test_a_job_of_somebody_else_takes_the_name(stage: Stage, stranger: dict[str, Any]) -> None:
    await stage.see()
    name = run_name(stage.experiment, "train", 1)
    stage.server.add(JOBS, "ns", {"metadata": {"name": name, **stranger}, "spec": {}})
    refused = await stage.step()
    assert refused["train"].reason is Reason.NAME_TAKEN
    assert name in refused["train"].message
    again = reconcile(stage.experiment, (), NOW, cluster_settings("trainer:1"), refused=refused)
    step = again.status.step("train")
    assert step is not None
    assert (step.attempt, step.reason) == (0, Reason.NAME_TAKEN)
    assert again.start == ()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "exceeded quota: none"),
        (403, 'jobs.batch "x" is forbidden: exceeded quota: none'),
        (413, "exceeded quota: none"),
        (422, "exceeded quota: none"),
        (500, "etcdserver: request is too large, exceeded quota"),
    ],
)
@pytest.mark.parametrize("plural", ["jobs", "services"])
async def test_a_job_that_is_not_accepted_is_a_refusal(stage: Stage, status: int, message: str, plural: str) -> None:
    await stage.see()
    stage.server.fail["create", plural] = [ApiError(status, "Invalid", message)]
    refused = await stage.step()
    assert refused["train"].reason is Reason.JOB_REFUSED
    assert "exceeded quota" in refused["train"].message


QUOTA = 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
DENIED = 'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource "jobs" in API group "batch"'


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        (403, "Forbidden", DENIED),
        (401, "Unauthorized", "Unauthorized"),
        (404, "NotFound", 'namespaces "ns" not found'),
        (409, "Conflict", QUOTA),
        (429, "TooManyRequests", "later"),
        (500, "InternalError", "etcd"),
        (503, "ServiceUnavailable", "no"),
        (504, "Timeout", "no"),
        (0, "TimeoutError", ""),
    ],
)
async def test_an_answer_that_may_pass_is_no_refusal(stage: Stage, status: int, reason: str, message: str) -> None:
    await stage.see()
    stage.server.fail["create", "jobs"] = [api_error(status, reason, message, 3.0)]
    with pytest.raises(ApiError) as caught:
        await stage.step()
    # the one would list everything, the other says that the cache is behind
    assert not isinstance(caught.value, NotFound | Conflict)
    assert (caught.value.status, caught.value.message, caught.value.retry_after) == (status, message, 3.0)
    assert await stage.step() == {}
    step = stage.experiment.status.step("train")
    assert step is not None and (step.attempt, step.reason) == (1, Reason.STARTING)


async def test_a_name_that_was_taken_a_moment_ago_is_tried_again(stage: Stage) -> None:
    await stage.see()
    stage.server.fail["create", "jobs"] = [Conflict(409, "AlreadyExists", "it is there")]
    with pytest.raises(Conflict):
        await stage.step()
    assert await stage.step() == {}


async def test_a_server_that_is_not_well_is_no_refusal(stage: Stage) -> None:
    await stage.see()
    stage.server.fail["create", "jobs"] = [ApiError(500, "InternalError", "etcd")]
    with pytest.raises(ApiError):
        await stage.step()
    assert stage.experiment.status.current_step is None


async def test_a_replica_that_does_not_lead_writes_nothing(stage: Stage) -> None:
    stage.leading = False
    with pytest.raises(RuntimeError):
        await stage.see()
    assert stage.server.writes == []


async def test_replica_that_lost_the_lease_makes_neither_service_nor_job(stage: Stage) -> None:
    await stage.see()
    stage.server.writes.clear()
    stage.leading = False
    with pytest.raises(RuntimeError):
        await stage.executor.start(stage.experiment, await first_start(stage))
    assert stage.server.writes == []


async def test_replica_that_lost_the_lease_removes_no_progress(stage: Stage) -> None:
    stage.leading = False
    with pytest.raises(RuntimeError):
        await stage.executor.conclude(
            stage.experiment, Plan(stage.experiment.status, write_status=False, drop_progress=True)
        )
    assert stage.server.writes == []


async def test_what_is_stopped_is_deleted_after_the_status_says_so(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    edited = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    edited["spec"]["suspend"] = True
    edited["metadata"]["generation"] = 2
    stage.cache.put(EXPERIMENTS, stage.server.add(EXPERIMENTS, "ns", edited))
    stage.server.writes.clear()
    await stage.step()
    assert [(verb, plural) for verb, plural, _ in stage.server.writes] == [("patch", "status"), ("delete", "jobs")]
    [job] = stage.cache.jobs_of("ns", "nuclei")
    assert job.deletion_timestamp is not None
    stage.server.writes.clear()
    await stage.step()
    assert "delete" not in [verb for verb, _, _ in stage.server.writes]


async def test_job_that_is_being_deleted_is_not_deleted_again(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    stage.server.writes.clear()
    plan = Plan(stage.experiment.status, write_status=False, stop=(RunKey("train", 1),))
    await stage.executor.conclude(stage.experiment, plan)
    await stage.executor.conclude(stage.experiment, plan)
    assert [(verb, plural) for verb, plural, _ in stage.server.writes] == [("delete", "jobs")]


async def test_thousands_of_jobs_are_deleted_a_few_at_a_look(stage: Stage) -> None:
    await stage.step()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    made = stage.server.objects["jobs", "ns", job.name]
    for number in range(MOST_DELETIONS):
        copy = {**made["metadata"], "name": f"forged-{number}", "uid": f"forged-{number}"}
        stage.cache.put(JOBS, stage.server.add(JOBS, "ns", {**made, "metadata": copy}))
    stage.server.writes.clear()
    plan = Plan(stage.experiment.status, write_status=False, stop=(RunKey("train", 1),), delete_experiment=True)
    assert not await stage.executor.conclude(stage.experiment, plan)
    assert [(verb, plural) for verb, plural, _ in stage.server.writes] == [("delete", "jobs")] * MOST_DELETIONS
    stage.server.writes.clear()
    assert await stage.executor.conclude(stage.experiment, replace(plan, delete_experiment=False))
    assert [(verb, plural) for verb, plural, _ in stage.server.writes] == [("delete", "jobs")]


async def test_job_of_an_older_experiment_of_the_same_name_is_not_stopped(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    older = stage.server.objects["jobs", "ns", job.name]
    older["metadata"]["ownerReferences"][0]["uid"] = "exp-0"
    stage.cache.put(JOBS, stage.server.add(JOBS, "ns", older))
    stage.server.writes.clear()
    plan = Plan(stage.experiment.status, write_status=False, stop=(RunKey("train", 1),))
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.server.writes == []


async def test_a_job_that_is_gone_already_is_forgotten(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    stage.server.objects.clear()
    plan = Plan(stage.experiment.status, write_status=False, forget=(RunKey("train", 1),))
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.cache.jobs_of("ns", "nuclei") == []


async def test_a_live_look_finds_what_the_cache_lacks(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    blind = Stage(stage.server, stage.server.objects["maskrcnnexperiments", "ns", "nuclei"])
    await blind.executor.look_for(blind.experiment, [job.name, "never-was"])
    assert [found.uid for found in blind.cache.jobs_of("ns", "nuclei")] == [job.uid]


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {}},
        {"labels": {LABEL_EXPERIMENT: "other", LABEL_STEP: "train", LABEL_ATTEMPT: "1"}},
        {"labels": {LABEL_EXPERIMENT: "nuclei", LABEL_STEP: "other", LABEL_ATTEMPT: "1"}},
        {"labels": {LABEL_EXPERIMENT: "nuclei", LABEL_STEP: "train", LABEL_ATTEMPT: "2"}},
        {"ownerReferences": []},
    ],
)
async def test_a_live_look_finds_a_running_job_that_was_relabeled(stage: Stage, change: dict[str, Any]) -> None:
    await stage.see()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    stored = stage.server.objects["jobs", "ns", job.name]
    before = dict(stored["metadata"])
    stored["metadata"] = {**before, **change, "resourceVersion": "1000"}
    # the watch tells that what no longer has the label is deleted
    stage.cache.drop(JOBS, job.uid)
    assert missing_jobs(stage.experiment, stage.cache.jobs_of("ns", "nuclei")) == (job.name,)
    [relabeled] = await stage.executor.look_for(stage.experiment, [job.name])
    assert (relabeled.job.uid, relabeled.step, relabeled.attempt) == (job.uid, "train", 1)
    assert relabeled.why.startswith(f"the Job ns/{job.name} runs, but its labels or its owner were changed")
    stored["metadata"] = {**before, "resourceVersion": "1001"}
    assert await stage.executor.look_for(stage.experiment, [job.name]) == ()
    assert missing_jobs(stage.experiment, stage.cache.jobs_of("ns", "nuclei")) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"deletionTimestamp": "2026-01-01T11:59:00Z"}},
        {"status": {"conditions": [{"type": "Failed", "status": "True"}]}},
    ],
    ids=["deleted", "finished"],
)
async def test_relabeled_job_that_does_not_run_holds_nothing_up(stage: Stage, change: dict[str, Any]) -> None:
    await stage.see()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    stored = stage.server.objects["jobs", "ns", job.name]
    stored["metadata"] |= {"labels": {}, **change.get("metadata", {})}
    stored["status"] = change.get("status", {})
    stage.cache.drop(JOBS, job.uid)
    await stage.executor.look_for(stage.experiment, [job.name])
    assert stage.cache.jobs_of("ns", "nuclei") == []


@pytest.mark.parametrize("lost_after", ["the status", "nothing"])
async def test_a_replica_that_lost_the_lease_deletes_no_job(stage: Stage, lost_after: str) -> None:
    await stage.see()
    await stage.step()
    stage.server.writes.clear()
    written = lost_after == "the status"
    if not written:
        stage.leading = False
    plan = Plan(stage.experiment.status, write_status=written, stop=(RunKey("train", 1),))
    apply_status = stage.server.apply_status

    async def apply_and_lose(*arguments: Any) -> Any:
        answer = await apply_status(*arguments)
        stage.leading = False
        return answer

    stage.server.apply_status = apply_and_lose  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await stage.executor.conclude(stage.experiment, plan)
    assert "delete" not in [verb for verb, _, _ in stage.server.writes]
    assert [job.deletion_timestamp for job in stage.cache.jobs_of("ns", "nuclei")] == [None]


async def test_a_deletion_that_is_refused_for_now_leaves_the_job_in_the_cache(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    plan = Plan(stage.experiment.status, write_status=False, stop=(RunKey("train", 1),))
    stage.server.fail["delete", "jobs"] = [Conflict(409, "Conflict", "not now")]
    with pytest.raises(Conflict):
        await stage.executor.conclude(stage.experiment, plan)
    assert len(stage.cache.jobs_of("ns", "nuclei")) == 1


async def test_a_job_in_whose_place_another_is_counts_as_gone(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    plan = Plan(stage.experiment.status, write_status=False, stop=(RunKey("train", 1),))
    [job] = stage.cache.jobs_of("ns", "nuclei")
    stage.server.objects["jobs", "ns", job.name]["metadata"]["uid"] = "another"
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.cache.jobs_of("ns", "nuclei") == []
    assert ("jobs", "ns", job.name) in stage.server.objects


ENDED = "2026-01-01T11:00:00Z"


def finish(stage: Stage) -> Plan:
    """Lets the experiment end an hour ago; the plan of a look after its time is over."""
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["spec"]["ttlSecondsAfterFinished"] = 60
    found["metadata"]["generation"] = 2
    found["status"] = {
        "observedGeneration": 2,
        "completionTime": ENDED,
        "conditions": [{"type": "Succeeded", "status": "False", "reason": "StepFailed", "lastTransitionTime": ENDED}],
    }
    stage.cache.put(EXPERIMENTS, stage.server.add(EXPERIMENTS, "ns", found))
    return Plan(stage.experiment.status, write_status=False, delete_experiment=True)


async def test_the_experiment_goes_without_a_finalizer(stage: Stage) -> None:
    plan = finish(stage)
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.server.objects == {}
    assert stage.cache.experiment("ns", "nuclei") is None


async def test_experiment_that_another_controllers_finalizer_holds_is_known_to_be_deleted(stage: Stage) -> None:
    stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]["metadata"]["finalizers"] = ["example.org/archive"]
    plan = finish(stage)
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.experiment.metadata.deletion_timestamp is not None


async def test_a_replica_that_lost_the_lease_deletes_no_experiment(stage: Stage) -> None:
    plan, stage.leading = finish(stage), False
    with pytest.raises(RuntimeError):
        await stage.executor.conclude(stage.experiment, plan)
    assert stage.server.writes == []


def edit(stage: Stage, change: dict[str, Any]) -> None:
    """An edit of the user, which no watch has told yet."""
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["spec"] |= change
    found["metadata"]["generation"] += 1
    stage.server.add(EXPERIMENTS, "ns", found)


def resume(stage: Stage) -> None:
    """The experiment runs again, written by another replica."""
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["status"]["conditions"][0]["status"] = "Unknown"
    stage.server.add(EXPERIMENTS, "ns", found)


def end_again(stage: Stage) -> None:
    """It has run again and ended a moment ago, written by another replica."""
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["status"]["completionTime"] = "2026-01-01T11:59:50Z"
    stage.server.add(EXPERIMENTS, "ns", found)


@pytest.mark.parametrize("when", ["get", "delete"])
@pytest.mark.parametrize(
    "change",
    [
        lambda stage: edit(stage, {"ttlSecondsAfterFinished": None}),
        lambda stage: edit(stage, {"ttlSecondsAfterFinished": 7200}),
        lambda stage: edit(stage, {"maxRestarts": 5}),
        resume,
        end_again,
    ],
    ids=["no ttl", "longer ttl", "corrected spec", "resumed", "ended again"],
)
async def test_an_experiment_edited_before_its_deletion_stays(stage: Stage, change: Any, when: str) -> None:
    plan = finish(stage)
    stage.server.before[when, "maskrcnnexperiments"] = lambda: change(stage)
    with pytest.raises(Conflict):
        await stage.executor.conclude(stage.experiment, plan)
    assert ("maskrcnnexperiments", "ns", "nuclei") in stage.server.objects
    assert stage.server.writes == []


async def test_an_experiment_that_was_set_back_to_an_older_version_stays(stage: Stage) -> None:
    plan = finish(stage)
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["metadata"]["resourceVersion"] = "1"
    found["spec"].pop("ttlSecondsAfterFinished")
    with pytest.raises(Conflict):
        await stage.executor.conclude(stage.experiment, plan)
    assert stage.server.writes == []


async def test_an_experiment_that_was_deleted_and_made_again_stays(stage: Stage) -> None:
    plan = finish(stage)
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["metadata"]["uid"] = "exp-2"
    stage.server.add(EXPERIMENTS, "ns", found)
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.server.writes == []
    assert stage.experiment.metadata.uid == "exp-2"


async def test_an_experiment_that_is_gone_already_is_forgotten(stage: Stage) -> None:
    plan, experiment = finish(stage), stage.experiment
    stage.server.objects.clear()
    await stage.executor.conclude(experiment, plan)
    assert stage.cache.experiment("ns", "nuclei") is None


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_status_that_is_refused_for_its_content_ends_the_look(stage: Stage, status: int) -> None:
    stage.server.fail["patch", "maskrcnnexperiments"] = [ApiError(status, "Invalid", "status.steps[0]: too long")]
    with pytest.raises(StatusRefused, match="too long"):
        await stage.see()
    assert stage.server.writes == []


async def test_progress_is_removed_by_its_own_writer(stage: Stage) -> None:
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["status"] = {"progress": {"step": "train", "percentage": 3}}
    stage.cache.put(EXPERIMENTS, stage.server.add(EXPERIMENTS, "ns", found))
    plan = Plan(stage.experiment.status, drop_progress=True)
    await stage.executor.conclude(stage.experiment, plan)
    assert [what for _, what, _ in stage.server.writes] == ["status", "progress"]
    assert stage.experiment.status.progress is None


async def test_an_edit_that_comes_with_the_end_of_the_progress_is_looked_at(stage: Stage) -> None:
    await stage.see()
    server = stage.server
    stored = server.objects["maskrcnnexperiments", "ns", "nuclei"]
    apply_progress = server.apply_progress

    async def edit_and_apply(*arguments: Any) -> Any:
        stored["metadata"]["generation"] += 1
        return await apply_progress(*arguments)

    server.apply_progress = edit_and_apply  # type: ignore[method-assign]
    plan = Plan(stage.experiment.status, write_status=False, drop_progress=True)
    with pytest.raises(Conflict):
        await stage.executor.conclude(stage.experiment, plan)
    assert stage.experiment.metadata.generation == 2
    server.apply_progress = apply_progress  # type: ignore[method-assign]
    await stage.executor.conclude(stage.experiment, plan)
