"""Metrics of steps that end: each end is counted once among all replicas, with its duration."""

from __future__ import annotations

import copy

import pytest
from tests.unit.cluster.conftest import EXPERIMENT

from maskrcnn_operator.cluster.errors import ApiError, Conflict
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS
from maskrcnn_operator.metrics.process import REGISTRY

from .test_reconciler import UNAVAILABLE, Stage

SECONDS = 90 * 60.0


def counted() -> tuple[float, float, float]:
    """Return the numbers of failed trainings and of durations, and the sum of durations."""
    labels = {"task": "train", "result": "Failed"}
    names = (
        "maskrcnn_operator_steps_finished_total",
        "maskrcnn_step_duration_seconds_count",
        "maskrcnn_step_duration_seconds_sum",
    )
    ended, observed, seconds = (REGISTRY.get_sample_value(name, labels) or 0.0 for name in names)
    return ended, observed, seconds


def since(before: tuple[float, float, float]) -> tuple[float, ...]:
    return tuple(now - then for now, then in zip(counted(), before, strict=True))


@pytest.fixture
async def stage() -> Stage:
    """Return a stage whose training's Job failed 90 minutes after its start, before another reconciliation."""
    found = Stage()
    experiment = copy.deepcopy(EXPERIMENT)
    experiment["spec"]["maxRestarts"] = 0
    experiment["metadata"]["generation"] = 2
    found.put(experiment)
    await found.look()
    await found.look()
    running = found.stored
    running["status"]["steps"][0]["startTime"] = "2026-01-01T10:00:00Z"
    found.put(running)
    fail_the_job(found)
    return found


def fail_the_job(stage: Stage) -> None:
    [job] = [item for (plural, _, _), item in stage.server.objects.items() if plural == "jobs"]
    failed = {"type": "Failed", "status": "True", "reason": "Error", "lastTransitionTime": "2026-01-01T11:30:00Z"}
    stage.cache.put(JOBS, stage.server.add(JOBS, "ns", {**job, "status": {"conditions": [failed]}}))


async def test_step_that_ends_is_counted_once_with_its_duration(stage: Stage) -> None:
    before = counted()
    await stage.look()
    assert stage.reasons["Ready"] == "Failed"
    assert since(before) == (1, 1, SECONDS)
    await stage.look()
    await stage.look()
    assert since(before) == (1, 1, SECONDS)


async def test_replica_that_restarts_does_not_count_what_has_ended(stage: Stage) -> None:
    await stage.look()
    before = counted()
    again = Stage(stage.server)
    for (plural, _, _), item in list(stage.server.objects.items()):
        if plural == "jobs":
            again.cache.put(JOBS, copy.deepcopy(item))
    await again.look()
    assert since(before) == (0, 0, 0)


async def test_leader_with_an_old_state_does_not_count_again(stage: Stage) -> None:
    old = Stage(stage.server)
    fail_the_job(old)
    before = counted()
    await stage.look()
    with pytest.raises(Conflict):
        await old.look()
    assert since(before) == (1, 1, SECONDS)
    old.cache.put(EXPERIMENTS, copy.deepcopy(stage.stored))
    await old.look()
    assert since(before) == (1, 1, SECONDS)


async def test_end_is_counted_if_a_call_after_its_write_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    before = counted()

    def fail(*_: object) -> None:
        raise UNAVAILABLE

    monkeypatch.setattr(stage.reconciler._executor._events, "record", fail)
    with pytest.raises(ApiError):
        await stage.look()
    monkeypatch.undo()
    await stage.look()
    assert since(before) == (1, 1, SECONDS)


async def test_status_that_is_refused_counts_nothing(stage: Stage) -> None:
    before = counted()
    await stage.fail("patch", "maskrcnnexperiments", ApiError(500, "InternalError", "no"))
    assert since(before) == (0, 0, 0)


async def test_clock_that_was_set_back_gives_no_negative_duration(stage: Stage) -> None:
    ahead = stage.stored
    ahead["status"]["steps"][0]["startTime"] = "2026-01-01T13:00:00Z"
    stage.put(ahead)
    before = counted()
    await stage.look()
    assert since(before) == (1, 1, 0)
