"""Cause of a suspension by Kueue, read from the events about the Job, the only trace of the Workload on the Job.

A Workload that is deactivated, by Kueue or by a user, is not admitted again until its spec.active is true. Kueue
suspends the Job, as for a preemption, and records an event about the Job (type Normal, reason Stopped) with the message
of the Workload's condition Evicted: see stopJob in pkg/controller/jobframework/reconciler.go and Reconcile in
pkg/controller/core/workload_controller.go of Kueue 0.17 to 0.19.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import EARLIEST
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.jobs.views import EventView, JobView

_STARTED, _STOPPED = "Started", "Stopped"
_DEACTIVATED = "The workload is deactivated"
_SUSPENDED_AT_ONCE = timedelta(seconds=5)
"""A Job that was created suspended gets the condition Suspended within this time of its creation."""
_TEXT_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Suspension:
    """Cause of a Job's suspension.

    Attributes:
        reason: WorkloadDeactivated, or Queued if Kueue admits the Job as soon as there is quota.
        message: empty if the name of the queue explains the wait.
    """

    reason: Reason
    message: str = ""


def stopped_at(job: JobView) -> datetime | None:
    """Return when a Job was suspended after it had been admitted; None if it runs or was never admitted.

    Only the events of such a Job can show that its Workload was deactivated. They must be read soon, since they expire.
    """
    condition = job.condition("Suspended")
    if not job.suspended or condition is None or condition.last_transition_time is None or job.creation is None:
        return None
    at = condition.last_transition_time
    return at if at > job.creation + _SUSPENDED_AT_ONCE else None


def suspension(events: Iterable[EventView]) -> Suspension | None:
    """Return why a suspended Job waits, from all of its events; None if those events have expired.

    An API server keeps events for an hour. An earlier result stays true as long as the Job is suspended.
    """
    ours = [event for event in events if event.reason in (_STARTED, _STOPPED)]
    last = max(ours, key=lambda event: event.time or EARLIEST, default=None)
    if last is None:
        return None
    if last.reason == _STOPPED and last.message.startswith(_DEACTIVATED):
        message = one_line(last.message, _TEXT_LENGTH)
        return Suspension(Reason.WORKLOAD_DEACTIVATED, f"Kueue has suspended its Job: {message}")
    return Suspension(Reason.QUEUED)
