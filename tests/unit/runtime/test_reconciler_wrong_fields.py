"""Experiments with a wrong field that can only be corrected while they are suspended."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.runtime.test_reconciler import KEY, NOW
from tests.unit.runtime.test_reconciler_relabeled import A, B, Relabeling

from maskrcnn_operator.cluster.errors import Conflict
from maskrcnn_operator.cluster.resources import JOBS, PODS
from maskrcnn_operator.jobs.attempt import LOST_AFTER

WRONG: dict[str, dict[str, Any]] = {
    "workspace": {"workspace": {"objectStorage": {"url": "s3://data/../x"}}},
    "key": {"encryptionKeySecretRef": {"name": "Not A Name"}},
    "queue": {"queueName": "Not A Name"},
}
RIGHT = {"workspace": {"persistentVolumeClaim": {"claimName": "other"}}}
UNREADABLE = {"maxRestarts": -1}


async def running() -> Relabeling:
    """Return an experiment whose step has a Job."""
    stage = Relabeling(A)
    await stage.look()
    assert stage.jobs() == {"a-1"}
    return stage


async def settled(stage: Relabeling) -> None:
    """Reconcile until the status is up to date."""
    for _ in range(3):
        await stage.look()


def end(stage: Relabeling) -> None:
    """Remove the Job of step ``a``, as its deletion does."""
    uid = stage.job()["metadata"]["uid"]
    stage.remove_job("a")
    stage.cache.drop(JOBS, uid)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_experiment_of_an_older_release_is_stopped_when_it_is_suspended(wrong: dict[str, Any]) -> None:
    stage = await running()
    stage.edit(**wrong)
    await settled(stage)
    assert (stage.reasons["Stalled"], "Suspended" in stage.reasons) == ("InvalidSpec", False)
    stage.edit(suspend=True)
    await settled(stage)
    assert "deletionTimestamp" in stage.job()["metadata"]
    assert (stage.reasons["Stalled"], stage.reasons["Suspended"]) == ("InvalidSpec", "Suspended")


async def test_corrected_experiment_starts_again() -> None:
    stage = await running()
    stage.edit(suspend=True, **WRONG["workspace"])
    await settled(stage)
    end(stage)
    await settled(stage)
    stage.edit(suspend=False, **RIGHT)
    await stage.look()
    assert stage.jobs() == {"a-2"}
    assert stage.stored["status"]["workspace"] == "other"


async def test_recorded_workspace_stays_while_that_of_the_spec_is_wrong() -> None:
    stage = await running()
    stage.edit(suspend=True, **WRONG["workspace"])
    await settled(stage)
    assert stage.stored["status"]["workspace"] == "maskrcnn"


async def test_neither_claim_nor_owner_is_read_for_a_wrong_workspace() -> None:
    stage = await running()
    stage.claims.read.clear()
    stage.edit(**WRONG["workspace"])
    await settled(stage)
    assert (stage.claims.read, stage.owners.read) == ([], [])


async def test_nothing_starts_if_the_spec_is_corrected_while_it_is_reconciled() -> None:
    stage = await running()
    stage.edit(steps=[A, B], **WRONG["workspace"])
    end(stage)
    stage.server.before["get", "jobs"] = lambda: stage.edit(**RIGHT)
    with pytest.raises(Conflict):
        await stage.look()
    assert "b-1" not in stage.jobs()


async def test_unreadable_experiment_is_suspended_once_its_jobs_have_ended() -> None:
    stage = await running()
    stage.edit(suspend=True)
    await settled(stage)
    job = stage.job()
    end(stage)
    await settled(stage)
    stage.cache.revive(job["metadata"]["uid"])
    stage.cache.put(JOBS, stage.server.add(JOBS, "ns", job))
    stage.edit(**UNREADABLE)
    await stage.look()
    assert "Suspended" not in stage.reasons
    end(stage)
    stage.put(stage.stored)
    await stage.look()
    assert (stage.reasons["Stalled"], stage.reasons["Suspended"]) == ("InvalidSpec", "Suspended")


async def test_unreadable_experiment_is_looked_at_again_when_its_pod_counts_as_lost() -> None:
    stage = await running()
    stage.edit(suspend=True, **UNREADABLE)
    pod = {
        "metadata": {
            "name": "a-pod",
            "labels": stage.job()["metadata"]["labels"],
            "deletionTimestamp": NOW.isoformat(),
        },
        "status": {"phase": "Running"},
    }
    stage.cache.put(PODS, stage.server.add(PODS, "ns", pod))
    assert await stage.reconciler.reconcile(KEY) == LOST_AFTER.total_seconds()
