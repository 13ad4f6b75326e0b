"""Events as the cause of a wait: which are read, when, and which one is reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.jobs.causes import MOST_PODS, TEXT_LENGTH, Subject, WaitCause, cause_of, due_at, subjects, unread
from maskrcnn_operator.jobs.parse import job_view, pod_view

from .conftest import at, job_object, pod_object, written

JOB = Subject("lab", "job-train-1", at(0), is_pod=False)
POD = Subject("lab", "pod-1", at(0), is_pod=True)
QUOTA = "exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0"
CREATING = ("ContainerCreating", "")


def event(reason: str, message: str, seconds: float, kind: str = "Warning") -> dict[str, Any]:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": written(seconds)}


def told(subject: Subject, *events: object) -> tuple[Reason | None, str]:
    found = cause_of(subject, events, at(60))
    assert (found.since, found.read) == (subject.since, at(60))
    return found.reason, found.message


def test_events_are_read_after_15_and_45_seconds_and_then_every_five_minutes() -> None:
    known: WaitCause | None = None
    due: list[float] = []
    for _ in range(5):
        moment = due_at(JOB, known)
        due.append((moment - JOB.since).total_seconds())
        known = WaitCause(JOB.since, moment)
    assert due == [15, 45, 300, 600, 900]


def test_one_read_replaces_all_missed_reads() -> None:
    assert due_at(JOB, WaitCause(JOB.since, at(1000))) == at(1200)


def test_a_job_that_is_started_again_is_read_on_a_new_schedule() -> None:
    again = replace(JOB, since=at(1000))
    assert due_at(again, WaitCause(JOB.since, at(900))) == at(1015)


@pytest.mark.parametrize(
    ("nodes", "pods", "found"),
    [
        (1, [], ["job-train-1"]),
        (2, [pod_object(index=0)], ["job-train-1"]),
        (2, [pod_object(index=0), pod_object(index=0, name="b")], ["job-train-1"]),
        (2, [pod_object(index=0), pod_object(index=1, phase="Succeeded", code=0)], []),
        (1, [pod_object(phase="Failed", code=1)], ["job-train-1"]),
        (1, [pod_object(phase="Pending", waiting=CREATING)], ["pod"]),
        (1, [pod_object(phase="Pending", waiting=("PodInitializing", ""))], ["pod"]),
        (1, [pod_object(phase="Pending")], ["pod"]),
        (1, [pod_object(phase="Pending", waiting=CREATING, deleted=5)], []),
        (1, [pod_object(phase="Pending", waiting=("ImagePullBackOff", "x"))], []),
        (1, [pod_object(phase="Pending", node="", unschedulable="0/3 nodes")], []),
        (2, [pod_object(index=0, phase="Pending", waiting=CREATING)], ["job-train-1", "pod"]),
    ],
)
def test_subjects_of_an_attempt(nodes: int, pods: list[dict[str, Any]], found: list[str]) -> None:
    views = [pod_view(pod) for pod in pods]
    named = {view.uid: "pod" for view in views}
    assert [
        named.get(subject.uid, subject.uid) for subject in subjects(job_view(job_object(nodes=nodes)), views)
    ] == found


def test_a_job_that_was_not_started_yet_has_no_events_to_read() -> None:
    assert subjects(job_view(job_object(start=None)), []) == []


def test_only_first_pods_of_a_large_worker_group_are_read() -> None:
    pods = [pod_view(pod_object(index=index, phase="Pending", waiting=CREATING)) for index in reversed(range(50))]
    found = subjects(job_view(job_object(nodes=50)), pods)
    assert [subject.uid for subject in found] == [pod.uid for pod in reversed(pods)][:MOST_PODS]


def test_pod_starts_when_it_is_scheduled_and_job_lacks_pods_since_one_failed() -> None:
    pod = pod_object(phase="Pending", waiting=CREATING)
    pod["status"]["conditions"].append({"type": "PodScheduled", "status": "True", "lastTransitionTime": written(500)})
    [found] = subjects(job_view(job_object()), [pod_view(pod)])
    assert found.since == at(500)
    [job] = subjects(job_view(job_object()), [pod_view(pod_object(phase="Failed", code=1, ended=700))])
    assert job.since == at(700)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (f'Error creating: pods "train-x7d9k" is forbidden: {QUOTA}', QUOTA),
        (f'(combined from similar events): Error creating: pods "train-x7d9k" is forbidden: {QUOTA}', QUOTA),
        ("Error creating: Internal error occurred: no endpoints", "Internal error occurred: no endpoints"),
        ("one\n  two\x1b[31m \udce9", "one two [31m \ufffd"),
        ("x" * 5000, "x" * TEXT_LENGTH),
    ],
)
def test_message_of_a_job_whose_pods_are_not_created(message: str, text: str) -> None:
    events = (event("FailedCreate", message, 50), event("SuccessfulCreate", "Created pod: x", 55, "Normal"))
    assert told(JOB, *events) == (Reason.FAILED_CREATE, text)


def test_events_of_an_earlier_start_of_a_job_are_ignored() -> None:
    assert told(replace(JOB, since=at(30)), event("FailedCreate", "old", 20)) == (None, "")
    assert told(replace(JOB, since=at(30)), event("FailedCreate", "new", 30)) == (Reason.FAILED_CREATE, "new")


def test_other_events_of_a_job_are_ignored() -> None:
    assert told(
        JOB, event("FailedDelete", "Error deleting", 50), event("Suspended", "Job suspended", 50, "Normal")
    ) == (
        None,
        "",
    )


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([], (None, "")),
        ([event("FailedMount", "secret absent", 50)], (Reason.FAILED_MOUNT, "secret absent")),
        ([event("FailedMapVolume", "no device", 50)], (Reason.FAILED_MOUNT, "no device")),
        ([event("FailedAttachVolume", "Multi-Attach", 50)], (Reason.FAILED_ATTACH_VOLUME, "Multi-Attach")),
        ([event("FailedCreatePodSandBox", "no network", 50)], (Reason.FAILED_CREATE_POD_SANDBOX, "no network")),
        # newer events count, but not a newer one with less detail
        ([event("FailedAttachVolume", "a", 20), event("FailedMount", "b", 40)], (Reason.FAILED_MOUNT, "b")),
        (
            [
                event("FailedMount", "secret absent", 20),
                event("FailedMount", "Unable to attach or mount volumes: x", 40),
            ],
            (Reason.FAILED_MOUNT, "secret absent"),
        ),
        # an obstacle that is over isn't reported
        ([event("FailedMount", "a", 20), event("Pulling", "Pulling image", 40, "Normal")], (None, "")),
        ([event("FailedScheduling", "0/3 nodes", 20), event("Scheduled", "", 30, "Normal")], (None, "")),
        # a failed sandbox is created again repeatedly
        (
            [event("FailedCreatePodSandBox", "a", 20), event("SandboxChanged", "made again", 40, "Normal")],
            (Reason.FAILED_CREATE_POD_SANDBOX, "a"),
        ),
        # events without a reason of ours are reported with their own reason and message
        (
            [event("FailedToRetrieveImagePullSecret", "no secret pull", 20)],
            (None, "FailedToRetrieveImagePullSecret: no secret pull"),
        ),
        (
            [event("FailedMount", "a", 20), event("NetworkNotReady", "no network", 40)],
            (Reason.FAILED_MOUNT, "a"),
        ),
    ],
)
def test_cause_from_the_events_of_a_pod(events: list[dict[str, Any]], found: tuple[Reason | None, str]) -> None:
    assert told(POD, *events) == found
    assert told(POD, *reversed(events)) == found


def test_time_of_an_event_is_read_from_either_library_that_records_them() -> None:
    repeated = {**event("FailedMount", "new", 0), "lastTimestamp": None, "eventTime": written(1)}
    repeated["series"] = {"count": 2, "lastObservedTime": written(50)}
    assert told(POD, event("FailedMount", "old", 20), repeated) == (Reason.FAILED_MOUNT, "new")


@pytest.mark.parametrize("value", [None, 7, "event", [], {}, {"type": [], "reason": {}, "message": 7, "series": "x"}])
def test_value_that_is_not_an_event_gives_no_cause(value: object) -> None:
    for subject in (JOB, POD):
        assert told(subject, value, event("FailedCreate", "x", 50)) in (
            (Reason.FAILED_CREATE, "x"),
            (None, "FailedCreate: x"),
        )


def test_failed_read_keeps_the_known_cause_until_the_next_is_due() -> None:
    known = WaitCause(JOB.since, at(45), Reason.FAILED_CREATE, QUOTA)
    assert unread(JOB, known, at(300)) == replace(known, read=at(300))
    assert unread(replace(JOB, since=at(290)), known, at(310)) == WaitCause(at(290), at(310))
    assert unread(JOB, None, at(15)) == WaitCause(JOB.since, at(15))
    assert due_at(JOB, unread(JOB, None, at(15))) == JOB.since + timedelta(seconds=45)
