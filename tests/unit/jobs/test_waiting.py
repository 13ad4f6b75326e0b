"""Reasons why an attempt does not run, from its pods and from the events about them and their Job."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.jobs.causes import WaitCause
from maskrcnn_operator.jobs.observe import Observation, observe
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import Make, at, job_object, pod_object, written

STARTED = at(1)
SOON = at(60)
CREATING = ("ContainerCreating", "")
JOB_UID = "job-train-1"
PULL = 'Back-off pulling image "x": ErrImagePull: x: not found'


def seen(
    make: Make,
    job: dict[str, Any],
    *pods: dict[str, Any],
    now: datetime = SOON,
    causes: dict[str, WaitCause] | None = None,
) -> Observation:
    return observe(make(), [job_view(job)], [pod_view(pod) for pod in pods], now, causes=causes or {})


def told(*arguments: Any, **named: Any) -> tuple[str, str]:
    run: Run
    (run,) = seen(*arguments, **named).runs
    assert run.state == "Starting"
    return run.waiting_reason, run.message


def starting(index: int = 0, **fields: Any) -> dict[str, Any]:
    """Return a pod that was created a second ago and whose containers are being created."""
    pod = pod_object(index=index, phase="Pending", **{"waiting": CREATING, **fields})
    pod["metadata"]["creationTimestamp"] = written(1)
    return pod


def test_pods_that_are_not_created_are_counted_in_the_message(make: Make) -> None:
    causes = {JOB_UID: WaitCause(STARTED, at(15), Reason.FAILED_CREATE, "exceeded quota: pods")}
    assert told(make, job_object(), causes=causes) == ("FailedCreate", "exceeded quota: pods")
    assert told(make, job_object(nodes=3), pod_object(), causes=causes) == (
        "FailedCreate",
        "2 of 3 pods: exceeded quota: pods",
    )


def test_cause_is_dropped_once_all_pods_exist(make: Make) -> None:
    causes = {JOB_UID: WaitCause(STARTED, at(15), Reason.FAILED_CREATE, "exceeded quota: pods")}
    assert told(make, job_object(), starting(), causes=causes) == ("", "")


def test_cause_of_an_earlier_start_of_the_job_is_ignored(make: Make) -> None:
    causes = {JOB_UID: WaitCause(STARTED, at(15), Reason.FAILED_CREATE, "exceeded quota: pods")}
    assert told(make, job_object(start=50), causes=causes) == ("", "")


def test_volume_that_cannot_be_mounted_is_reported(make: Make) -> None:
    pod = starting()
    causes = {pod["metadata"]["uid"]: WaitCause(STARTED, at(16), Reason.FAILED_MOUNT, "secret absent")}
    assert told(make, job_object(), pod, causes=causes) == ("FailedMount", "secret absent")
    assert told(make, job_object(nodes=2), pod_object(index=1), pod, causes=causes) == (
        "FailedMount",
        "1 of 2 pods: secret absent",
    )


def test_event_with_another_reason_is_only_in_the_message(make: Make) -> None:
    pod = starting()
    causes = {pod["metadata"]["uid"]: WaitCause(STARTED, at(16), None, "NetworkNotReady: no network")}
    assert told(make, job_object(), pod, causes=causes) == ("", "NetworkNotReady: no network")


def test_state_of_a_pod_comes_before_its_events(make: Make) -> None:
    pod = starting(waiting=("ErrImagePull", "x: not found"))
    causes = {pod["metadata"]["uid"]: WaitCause(STARTED, at(16), Reason.FAILED_MOUNT, "secret absent")}
    assert told(make, job_object(), pod, causes=causes) == ("ImagePullBackOff", "x: not found")


@pytest.mark.parametrize("part", ["initContainerStatuses", "containerStatuses"])
@pytest.mark.parametrize("own", [CREATING, ("PodInitializing", "")])
def test_image_of_another_container_is_reported_with_its_name(make: Make, part: str, own: tuple[str, str]) -> None:
    pod = starting(waiting=own)
    other = {"name": "istio-proxy", "state": {"waiting": {"reason": "ImagePullBackOff", "message": PULL}}}
    pod["status"].setdefault(part, []).insert(0, other)
    assert told(make, job_object(), pod) == ("ImagePullBackOff", "container istio-proxy: x: not found")


def test_crash_looping_sidecar_is_reported(make: Make) -> None:
    pod = starting(waiting=("PodInitializing", ""))
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
    pod["status"]["initContainerStatuses"] = [{"name": "proxy", "state": {"waiting": waiting}}]
    text = "container proxy: back-off 5m0s restarting failed container"
    assert told(make, job_object(), pod) == ("CrashLoopBackOff", text)


def test_image_of_the_task_comes_before_that_of_a_sidecar(make: Make) -> None:
    pod = starting(waiting=("ErrImagePull", "mine: not found"))
    other = {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "other"}}}
    pod["status"]["containerStatuses"].insert(0, other)
    assert told(make, job_object(), pod) == ("ImagePullBackOff", "mine: not found")


def test_image_of_a_sidecar_is_ignored_in_a_failed_pod() -> None:
    pod = pod_object(phase="Failed", waiting=("PodInitializing", ""))
    other = {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "other"}}}
    pod["status"]["containerStatuses"].append(other)
    assert pod_view(pod).reason == "PodInitializing"


def test_unexplained_wait_names_where_to_look_after_five_minutes(make: Make) -> None:
    job = job_object(nodes=2)
    assert told(make, job, pod_object(), now=at(300)) == ("", "")
    assert told(make, job, pod_object(), now=at(301)) == (
        "",
        "1 of 2 pods exist: see kubectl describe job nuclei-train-1-abcde",
    )
    pod = starting()
    assert told(make, job_object(), pod, now=at(300)) == ("", "")
    name = pod["metadata"]["name"]
    assert told(make, job_object(), pod, now=at(301)) == ("", f"pod {name} on node node-a: ContainerCreating")


def test_events_are_requested_when_they_are_due(make: Make) -> None:
    early = seen(make, job_object(), now=at(15))
    assert (early.to_read, early.wake_at) == ((), at(16))
    due = seen(make, job_object(), now=at(16))
    assert [subject.uid for subject in due.to_read] == [JOB_UID]
    assert due.wake_at is None
    later = seen(make, job_object(), now=at(17), causes={JOB_UID: WaitCause(STARTED, at(16))})
    assert (later.to_read, later.wake_at) == ((), at(46))


@pytest.mark.parametrize(
    "objects",
    [
        (job_object(suspend=True, start=None, queue="gpus"),),
        (job_object(), pod_object()),
        (job_object(complete=90), pod_object(phase="Succeeded", code=0)),
        (job_object(failed=("BackoffLimitExceeded", "x")),),
        (job_object(deleted=30), starting()),
    ],
)
def test_no_events_are_read_for_an_attempt_that_does_not_start(make: Make, objects: tuple[dict[str, Any], ...]) -> None:
    found = seen(make, *objects, now=at(1000))
    assert found.to_read == ()


def told_before(make: Make, reason: str, attempt: int = 1) -> MaskRCNNExperiment:
    step = StepStatus(name="train", state=StepState.STARTING, reason=reason, message="said", attempt=attempt)
    experiment = make()
    return experiment.with_status(experiment.status.model_copy(update={"steps": (step,)}))


@pytest.mark.parametrize(
    ("reason", "attempt", "known", "found"),
    [
        ("FailedCreate", 1, False, ("FailedCreate", "said")),
        ("FailedCreate", 1, True, ("", "")),
        ("FailedCreate", 2, False, ("", "")),
        ("ImagePullBackOff", 1, False, ("", "")),
    ],
)
def test_reason_of_an_earlier_replica_holds_until_this_one_has_read(
    make: Make, reason: str, attempt: int, known: bool, found: tuple[str, str]
) -> None:
    causes = {JOB_UID: WaitCause(STARTED, at(50))} if known else {}
    (run,) = observe(told_before(make, reason, attempt), [job_view(job_object())], [], SOON, causes=causes).runs
    assert (run.waiting_reason, run.message) == found


def test_reason_of_an_earlier_replica_is_dropped_once_the_pods_exist(make: Make) -> None:
    job, pod = job_view(job_object()), pod_view(pod_object(phase="Pending", node=""))
    (run,) = observe(told_before(make, "FailedCreate"), [job], [pod], SOON).runs
    assert (run.waiting_reason, run.message) == ("", "")
