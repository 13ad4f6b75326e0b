"""Attempts with a sidecar that outlives the trainer, so that neither the pods nor their Job end by themselves."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.jobs.attempt import Attempt, run_of
from maskrcnn_operator.jobs.observe import observe
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import Make, at, job_object, pod_object

DONE = json.dumps({"version": 1, "task": "train", "code": 0, "fingerprint": "train-v1", "checkpointStep": 100})
NOW = at(100)


def seen(job: dict[str, Any], *pods: dict[str, Any], now: datetime = NOW) -> Run:
    return run_of(Attempt("train", 1, job_view(job), tuple(map(pod_view, pods))), now)[0]


def held(index: int = 0, code: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a pod whose trainer has ended while its sidecar runs."""
    return pod_object(index=index, code=code, sidecar="running", **fields)


def test_success_of_the_trainer_counts() -> None:
    run = seen(job_object(), held(said=DONE, ended=50))
    assert (run.state, run.exit_code, run.ended, run.unfinished, run.disrupted) == (
        "Succeeded",
        0,
        at(50),
        True,
        False,
    )
    assert run.result is not None
    assert run.result.checkpoint_step == 100


@pytest.mark.parametrize(("code", "disrupted"), [(1, False), (64, False), (75, False), (143, True)])
def test_failure_of_the_trainer_counts(code: int, disrupted: bool) -> None:
    run = seen(job_object(), held(code=code, ended=50))
    assert (run.state, run.exit_code, run.ended, run.unfinished) == ("Failed", code, at(50), True)
    assert run.disrupted is disrupted
    assert run.message == f"pod nuclei-train-1-0 on node node-a: exit code {code}"


def test_pod_about_to_end_by_itself_is_left_to_its_job() -> None:
    """The kubelet reports the end of the container before it reports the end of the pod."""
    for sidecar in ("", "terminated"):
        run = seen(job_object(), pod_object(code=0, said=DONE, sidecar=sidecar))
        assert (run.state, run.unfinished) == ("Running", False)


def test_success_counts_although_the_job_was_suspended_at_that_moment() -> None:
    suspended = job_object(suspend=True, queue="gpus", start=None)
    run = seen(suspended, held(said=DONE, ended=50, deleted=170))
    assert (run.state, run.exit_code, run.unfinished) == ("Succeeded", 0, True)
    assert seen(suspended, held(code=1, ended=50, deleted=170)).state == "Queued"


def test_every_index_of_a_worker_group_counts() -> None:
    job = job_object(nodes=2)
    run = seen(job, held(0, said=DONE), pod_object(index=1, sidecar="running"))
    assert (run.state, run.failing) == ("Running", "")
    assert seen(job, held(0, said=DONE)).live
    for other in (held(1), pod_object(index=1, phase="Succeeded", code=0)):
        run = seen(job, held(0, said=DONE), other)
        assert (run.state, run.unfinished) == ("Succeeded", True)
    run = seen(job, held(0, code=75, ended=60), held(1, code=1, ended=50))
    assert (run.state, run.exit_code, run.unfinished) == ("Failed", 1, True)


def test_rest_of_a_worker_group_is_to_be_stopped_after_a_failure() -> None:
    """The Job controller would do it if the sidecar did not keep the failed pod from ending."""
    job = job_object(nodes=2)
    run = seen(job, pod_object(index=0, sidecar="running"), held(1, code=1))
    assert (run.state, run.failing, run.exit_code) == (
        "Running",
        "pod nuclei-train-1-1 on node node-a: exit code 1",
        1,
    )
    assert seen(job, pod_object(index=0), pod_object(index=1, phase="Failed", code=1)).failing == ""
    # the attempt is being deleted; it still counts as failed
    gone = job_object(nodes=2, deleted=70)
    stopping = seen(gone, pod_object(index=0, sidecar="running", deleted=190), held(1, code=1, deleted=190))
    assert (stopping.state, stopping.message) == ("Stopping", "pod nuclei-train-1-1 on node node-a: exit code 1")
    ended = seen(gone, held(0, code=143, ended=80, deleted=190), held(1, code=1, ended=50, deleted=190))
    assert (ended.state, ended.exit_code, ended.disrupted) == ("Failed", 1, False)


def test_removed_attempt_stays_ended_while_its_sidecar_terminates() -> None:
    for later in (101, 1000):
        run = seen(job_object(deleted=70), held(said=DONE, ended=50, deleted=190), now=at(later))
        assert (run.state, run.deleted, run.unfinished, run.lost) == ("Succeeded", True, False, "")
        run = seen(job_object(deleted=70), held(code=1, ended=50, deleted=190), now=at(later))
        assert (run.state, run.ended, run.disrupted, run.lost) == ("Failed", at(50), False, "")


def test_failed_sidecar_keeps_the_result() -> None:
    """A failed sidecar fails its pod, and with it the Job."""
    failed = job_object(failed=("BackoffLimitExceeded", "limit"))
    for said in (DONE, ""):
        run = seen(failed, pod_object(phase="Failed", code=0, said=said, sidecar="terminated"))
        assert (run.state, run.exit_code) == ("Succeeded", 0)


def test_next_attempt_waits_for_pods_with_a_sidecar(make: Make) -> None:
    pods = [pod_view(held(code=1, ended=50, deleted=190))]
    seen = observe(make(), [job_view(job_object(deleted=70))], pods, NOW)
    assert [run.live for run in seen.runs] == [False]
    assert seen.lingering == {"train": "pod nuclei-train-1-0 on node node-a"}
