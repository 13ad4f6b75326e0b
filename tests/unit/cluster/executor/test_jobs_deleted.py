"""Jobs of stopped steps: deleted once, only by the leader, and looked for if they are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cluster.executor.conftest import Stage

from maskrcnn_operator.cluster.errors import Conflict
from maskrcnn_operator.cluster.executor import MOST_DELETIONS
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS
from maskrcnn_operator.core.plan import Plan
from maskrcnn_operator.core.runs import RunKey
from maskrcnn_operator.jobs.names import LABEL_ATTEMPT, LABEL_EXPERIMENT, LABEL_STEP
from maskrcnn_operator.jobs.observe import missing_jobs


async def test_stopped_jobs_are_deleted_after_the_status_write(stage: Stage) -> None:
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


async def test_thousands_of_jobs_are_deleted_a_few_at_a_time(stage: Stage) -> None:
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


async def test_read_from_the_server_finds_jobs_that_the_cache_lacks(stage: Stage) -> None:
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
async def test_read_from_the_server_finds_a_running_relabeled_job(stage: Stage, change: dict[str, Any]) -> None:
    await stage.see()
    await stage.step()
    [job] = stage.cache.jobs_of("ns", "nuclei")
    stored = stage.server.objects["jobs", "ns", job.name]
    before = dict(stored["metadata"])
    stored["metadata"] = {**before, **change, "resourceVersion": "1000"}
    # a watch reports an object that no longer has the label as deleted
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
async def test_relabeled_job_that_does_not_run_holds_no_step(stage: Stage, change: dict[str, Any]) -> None:
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


async def test_job_replaced_by_another_one_counts_as_deleted(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    plan = Plan(stage.experiment.status, write_status=False, stop=(RunKey("train", 1),))
    [job] = stage.cache.jobs_of("ns", "nuclei")
    stage.server.objects["jobs", "ns", job.name]["metadata"]["uid"] = "another"
    await stage.executor.conclude(stage.experiment, plan)
    assert stage.cache.jobs_of("ns", "nuclei") == []
    assert ("jobs", "ns", job.name) in stage.server.objects
