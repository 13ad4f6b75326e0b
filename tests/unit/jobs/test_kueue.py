"""Events by Kueue about a Job that it has stopped."""

from __future__ import annotations

from datetime import datetime

import pytest

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.jobs.causes import WaitCause, cause_of
from maskrcnn_operator.jobs.kueue import Suspension, stopped_at, suspension
from maskrcnn_operator.jobs.observe import Observation, observe
from maskrcnn_operator.jobs.parse import job_view
from maskrcnn_operator.jobs.views import EventView

from .conftest import Make, at, job_object, written


def event(reason: str, message: str, time: datetime | None) -> EventView:
    return EventView(False, reason, message, time)


def started(seconds: float) -> EventView:
    return event("Started", "Admitted by clusterQueue gpus", at(seconds))


def stopped(seconds: float, message: str) -> EventView:
    return event("Stopped", message, at(seconds))


TOO_LONG = "The workload is deactivated due to exceeding the maximum execution time"
PREEMPTED = "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the ClusterQueue"


@pytest.mark.parametrize(
    "message",
    [
        TOO_LONG,
        "The workload is deactivated",
        "The workload is deactivated due to exceeding the maximum number of re-queuing retries",
        "The workload is deactivated due to admission check(s): check-1 were rejected",
    ],
)
def test_deactivated_workload_is_reported_with_kueues_message(message: str) -> None:
    found = suspension([started(10), stopped(100, message)])
    assert found == Suspension(Reason.WORKLOAD_DEACTIVATED, f"Kueue has suspended its Job: {message}")


def test_a_preempted_job_waits_in_its_queue() -> None:
    assert suspension([started(10), stopped(100, PREEMPTED)]) == Suspension(Reason.QUEUED)


def test_newest_event_counts_in_any_order() -> None:
    events = [stopped(300, PREEMPTED), stopped(100, TOO_LONG), started(200), started(10)]
    assert suspension(events) == Suspension(Reason.QUEUED)
    events = [started(200), stopped(300, TOO_LONG), stopped(100, PREEMPTED)]
    assert suspension(events) is not None
    assert suspension(events).reason is Reason.WORKLOAD_DEACTIVATED  # type: ignore[union-attr]


def test_no_events_of_kueue_give_no_reason() -> None:
    others = [event("Suspended", "Job suspended", at(100)), event("FailedCreate", TOO_LONG, at(200))]
    assert suspension(others) is None
    assert suspension([]) is None


def test_an_event_without_a_time_is_older_than_one_with_it() -> None:
    assert suspension([event("Stopped", TOO_LONG, None), started(10)]) == Suspension(Reason.QUEUED)
    assert suspension([event("Stopped", TOO_LONG, None)]) is not None


def test_the_message_of_an_event_is_one_bounded_line() -> None:
    found = suspension([stopped(1, TOO_LONG + "\n\x00" + "x" * 5000)])
    assert found is not None
    assert found.message.isprintable()
    assert len(found.message) < 600


def test_time_of_the_suspension_of_an_admitted_job() -> None:
    again = ("Suspended", "JobSuspended", "Job suspended", 100)
    assert stopped_at(job_view(job_object(suspend=True, start=None, conditions=(again,)))) == at(100)


def test_a_job_that_runs_or_was_never_admitted_was_not_stopped() -> None:
    at_once, again = [("Suspended", "JobSuspended", "Job suspended", seconds) for seconds in (1, 100)]
    assert stopped_at(job_view(job_object(suspend=True, start=None, conditions=(at_once,)))) is None
    assert stopped_at(job_view(job_object(suspend=True, start=None))) is None
    assert stopped_at(job_view(job_object(suspend=False, conditions=(again,)))) is None


def test_events_explain_a_job_that_kueue_stopped(make: Make) -> None:
    again = ("Suspended", "JobSuspended", "Job suspended", 100)
    job = job_view(job_object(nodes=1, suspend=True, queue="gpus", start=None, conditions=(again,)))

    def look(seconds: float, causes: dict[str, WaitCause]) -> Observation:
        return observe(make(), [job], [], at(seconds), causes=causes)

    assert (look(110, {}).to_read, look(110, {}).wake_at) == ((), at(115))
    (subject,) = look(115, {}).to_read
    events = [{"type": "Normal", "reason": "Stopped", "message": TOO_LONG, "lastTimestamp": written(100)}]
    read = cause_of(subject, events, at(115))
    (run,) = look(116, {job.uid: read}).runs
    assert (run.state, run.waiting_reason) == ("Queued", "WorkloadDeactivated")
    assert TOO_LONG in run.message
    preempted = cause_of(subject, [{**events[0], "message": PREEMPTED}], at(115))
    (run,) = look(116, {job.uid: preempted}).runs
    assert (run.waiting_reason, run.message) == ("Queued", "waits for LocalQueue gpus")
    (run,) = look(116, {job.uid: cause_of(subject, [], at(115))}).runs
    assert (run.waiting_reason, run.message) == ("", "waits for LocalQueue gpus")


def test_events_of_a_job_that_was_never_admitted_are_not_read(make: Make) -> None:
    job = job_view(job_object(suspend=True, queue="gpus", start=None))
    seen = observe(make(), [job], [], at(5000))
    assert (seen.to_read, seen.wake_at) == ((), None)
