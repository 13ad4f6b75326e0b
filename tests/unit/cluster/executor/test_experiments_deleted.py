"""Experiments whose TTL has expired: deleted as they were seen, but not after an edit."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cluster.executor.conftest import Stage

from maskrcnn_operator.cluster.errors import Conflict
from maskrcnn_operator.cluster.resources import EXPERIMENTS
from maskrcnn_operator.core.plan import Plan

ENDED = "2026-01-01T11:00:00Z"


def finish(stage: Stage) -> Plan:
    """Make the experiment end an hour ago; return the plan of a reconciliation after its TTL."""
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


async def test_experiment_is_deleted_without_a_finalizer(stage: Stage) -> None:
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
    """Edit the experiment as its user, before any watch delivers it."""
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["spec"] |= change
    found["metadata"]["generation"] += 1
    stage.server.add(EXPERIMENTS, "ns", found)


def resume(stage: Stage) -> None:
    """Make the experiment run again, as written by another replica."""
    found = stage.server.objects["maskrcnnexperiments", "ns", "nuclei"]
    found["status"]["conditions"][0]["status"] = "Unknown"
    stage.server.add(EXPERIMENTS, "ns", found)


def end_again(stage: Stage) -> None:
    """Make the experiment end a moment ago after it ran again, as written by another replica."""
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
