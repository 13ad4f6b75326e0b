"""Plans carried out: the order of writes, existing objects, and refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cluster.executor.conftest import NOW, Stage

from maskrcnn_operator.cluster.cache import Cache
from maskrcnn_operator.cluster.errors import ApiError, Conflict, StatusRefused
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS
from maskrcnn_operator.core.plan import Event, Plan
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.jobs.config import run_name
from maskrcnn_operator.jobs.names import service_name
from maskrcnn_operator.runtime.options import cluster_settings


async def test_first_attempt_of_a_worker_group_is_three_writes_in_order(stage: Stage) -> None:
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


async def test_stale_status_is_dropped_and_its_job_adopted(stage: Stage) -> None:
    await stage.see()
    # a user edits the experiment, and no watch has delivered it yet
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


async def test_existing_job_is_ours_by_uid_and_attempt(stage: Stage) -> None:
    await stage.see()
    await stage.step()
    # the same again, by a process with an empty cache
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


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_status_rejected_for_its_content_ends_the_reconciliation(stage: Stage, status: int) -> None:
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


async def test_edit_in_the_response_to_a_progress_removal_is_reconciled(stage: Stage) -> None:
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
