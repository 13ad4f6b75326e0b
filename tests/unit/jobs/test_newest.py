"""Attempts whose Job had pods before, because it was preempted and restarted, or replaced a disrupted pod."""

from __future__ import annotations

import json
from typing import Any

import pytest

from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.jobs.attempt import Attempt, run_of
from maskrcnn_operator.jobs.newest import pods_of_newest_start
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import at, job_object, pod_object

BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
NOW = at(2000)


def word(code: int, **fields: Any) -> str:
    return json.dumps({"version": 1, "code": code, "fingerprint": "train-v1", **fields})


STOPPED = word(143, checkpointStep=40, error={"reason": "Stopped", "message": "stopped by SIGTERM"})


def preempted(index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a pod of the first start, which a suspension has deleted."""
    said = STOPPED if index == 0 else ""
    first = {"phase": "Failed", "code": 143, "ended": 500, "deleted": 620, "created": 1, "said": said}
    return pod_object(index=index, **({"name": f"first-{index}"} | first | fields))


def again(index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a pod of the second start, at 1000."""
    return pod_object(index=index, name=f"second-{index}", **({"created": 1000} | fields))


def seen(job: dict[str, Any], *pods: dict[str, Any]) -> Run:
    return run_of(Attempt("train", 1, job_view(job), tuple(map(pod_view, pods))), NOW)[0]


def test_real_failure_after_a_preemption_is_reported_and_counted() -> None:
    run = seen(job_object(start=1000, failed=BACKOFF), preempted(), again(phase="Failed", code=1, ended=1100))
    assert (run.state, run.exit_code, run.disrupted) == ("Failed", 1, False)
    assert run.message == "pod second-0 on node node-a: exit code 1"
    assert run.result is not None
    assert (run.result.exit_code, run.result.reason, run.result.message, run.result.checkpoint_step) == (1, "", "", 40)


def test_real_failure_of_worker_group_after_a_preemption_is_reported_and_counted() -> None:
    error = {"reason": "InvalidData", "message": "train.json: no images"}
    run = seen(
        job_object(start=1000, nodes=2, failed=BACKOFF),
        preempted(0),
        preempted(1),
        again(0, phase="Failed", code=1, ended=1100, said=word(1, error=error)),
        again(1, phase="Failed", code=75, ended=1101),
    )
    assert (run.exit_code, run.disrupted) == (1, False)
    assert run.result is not None
    assert (run.result.reason, run.result.message) == ("InvalidData", "train.json: no images")


def test_pod_of_an_earlier_start_is_ignored_if_its_index_was_not_restarted() -> None:
    job = job_object(start=1000, nodes=2, failed=BACKOFF)
    run = seen(job, preempted(0), preempted(1), again(1, phase="Failed", code=1, ended=1100))
    assert (run.exit_code, run.disrupted) == (1, False)
    assert run.message == "pod second-1 on node node-a: exit code 1"


def test_only_pods_of_an_earlier_start_are_known_of_a_job_that_failed() -> None:
    run = seen(job_object(start=1000, failed=BACKOFF), preempted())
    assert (run.state, run.exit_code, run.disrupted) == ("Failed", None, False)
    assert run.message == "BackoffLimitExceeded: Job has reached the specified backoff limit"
    assert run.result is not None
    assert (run.result.exit_code, run.result.message, run.result.checkpoint_step) == (None, "", 40)


def test_disruption_before_a_real_failure_is_ignored() -> None:
    """A Job of an earlier release replaces a disrupted pod without changing its startTime."""
    drained = preempted(disrupted=True, pod_reason=("Evicted", "node drained"))
    failed = again(phase="Failed", code=1, ended=1100, said="Traceback\nKeyError: 'loss'")
    run = seen(job_object(start=1, failed=BACKOFF), drained, failed)
    assert (run.exit_code, run.disrupted) == (1, False)
    assert run.message == "pod second-0 on node node-a: exit code 1: KeyError: 'loss'"


def test_disruption_of_the_newest_pod_counts() -> None:
    evicted = again(phase="Failed", code=143, ended=1100, disrupted=True, pod_reason=("Evicted", "low on memory"))
    run = seen(job_object(start=1000, failed=("PodFailurePolicy", "DisruptionTarget")), preempted(), evicted)
    assert (run.exit_code, run.disrupted) == (143, True)
    assert run.message == "pod second-0 on node node-a: exit code 143 (Evicted): low on memory"


def test_index_that_succeeded_before_a_preemption_stays_done() -> None:
    done = preempted(0, phase="Succeeded", code=0, said=word(0, checkpointStep=100), deleted=None)
    run = seen(job_object(start=1000, nodes=2, complete=1200), done, preempted(1), again(1, phase="Succeeded", code=0))
    assert (run.state, run.exit_code) == ("Succeeded", 0)
    assert run.result is not None
    assert run.result.checkpoint_step == 100


@pytest.mark.parametrize("skew", [-8, -2, 0, 2, 8])
def test_disruption_of_the_newest_pod_is_reported_if_the_clocks_differ(skew: float) -> None:
    evicted = again(phase="Failed", code=143, ended=1100, created=1000 + skew, deleted=1220, disrupted=True)
    run = seen(job_object(start=1000, failed=("BackoffLimitExceeded", "limit")), preempted(), evicted)
    assert (run.exit_code, run.disrupted) == (143, True)
    assert "second-0 on node node-a: exit code 143 (EvictionByEvictionAPI)" in run.message


@pytest.mark.parametrize("skew", [-8, -2, 0, 2, 8])
def test_clocks_of_controller_and_api_server_may_differ_by_seconds(skew: float) -> None:
    """A preempted Job is restarted at once, and the API server's clock is ahead by ``skew``."""
    job = job_object(start=1000, nodes=2, failed=BACKOFF)
    old = [preempted(index, created=980 + skew, ended=990, deleted=1110) for index in (0, 1)]
    new = [again(0, created=1000 + skew), again(1, created=1000 + skew, phase="Failed", code=1, ended=1100)]
    new[0] = again(0, created=1000 + skew, phase="Failed", code=143, ended=1101, deleted=1220)
    run = seen(job, *old, *new)
    assert (run.exit_code, run.disrupted) == (1, False)
    run = seen(job, *old, new[1])
    assert (run.exit_code, run.disrupted) == (1, False)


def test_failure_counts_if_the_clocks_are_far_apart() -> None:
    job = job_object(start=1000, nodes=2, failed=BACKOFF)
    run = seen(job, again(0, created=700), again(1, created=700, phase="Failed", code=64, ended=1100))
    assert (run.state, run.live) == ("Stopping", True)
    stopped = again(0, created=700, phase="Failed", code=143, ended=1101, deleted=1220)
    run = seen(job, stopped, again(1, created=700, phase="Failed", code=64, ended=1100))
    assert (run.exit_code, run.disrupted) == (64, False)
    assert seen(job_object(start=1000), again(created=700)).state == "Running"


def test_pods_of_an_earlier_start_do_not_run_for_the_newest() -> None:
    terminating = preempted(phase="Running", code=None, deleted=1990)
    run = seen(job_object(start=1000), terminating)
    assert (run.state, run.live) == ("Starting", True)
    assert run.ran is None
    assert seen(job_object(start=1000), preempted(), again()).state == "Running"


def test_pods_created_in_one_second_are_ordered_by_replacement() -> None:
    job = job_view(job_object(start=1))
    ended = pod_view(pod_object(name="z", phase="Failed", code=143, ended=1))
    made = pod_view(pod_object(name="a"))
    for pods in ([ended, made], [made, ended]):
        assert [pod.name for pod in pods_of_newest_start(job, pods)] == ["a"]


def test_failure_in_the_second_of_the_preemption_is_reported() -> None:
    job = job_object(start=1, failed=BACKOFF)
    old = preempted(ended=1, name="z", deleted=121)
    for name in ("a", "zz"):
        new = pod_object(name=name, phase="Failed", code=1, ended=1)
        for pods in ([old, new], [new, old]):
            run = seen(job, *pods)
            assert (run.exit_code, run.disrupted) == (1, False)
