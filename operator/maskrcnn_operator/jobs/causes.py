"""Causes of a wait, read from events: which objects' events are read, when, and which event counts.

The status of a Job that has no pods, or of a pod whose volumes cannot be mounted, does not name the cause. Only events
do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import EARLIEST
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.jobs.kueue import stopped_at, suspension
from maskrcnn_operator.jobs.parse import event_view
from maskrcnn_operator.jobs.views import EventView, JobView, PodView

READ_AFTER = (timedelta(seconds=15), timedelta(seconds=45))
"""Times of the first two reads: a normal start rarely takes longer than the first, and events name what prevents a
start within a minute."""
READ_EVERY = timedelta(minutes=5)
MOST_PODS = 8
"""Most pods of an attempt whose events are read. More are not needed: all pods of a worker group mount the same
volumes."""
TEXT_LENGTH = 500

_JOB_REASONS: Mapping[str, Reason] = {"FailedCreate": Reason.FAILED_CREATE}
_POD_REASONS: Mapping[str, Reason] = {
    "FailedMount": Reason.FAILED_MOUNT,
    "FailedMapVolume": Reason.FAILED_MOUNT,
    "FailedAttachVolume": Reason.FAILED_ATTACH_VOLUME,
    "FailedCreatePodSandBox": Reason.FAILED_CREATE_POD_SANDBOX,
}
REASONS_FROM_EVENTS = frozenset({*_JOB_REASONS.values(), *_POD_REASONS.values()})
"""Reasons that only events give."""
_OVER = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""Events of a pod whose volumes are mounted and whose sandbox is made."""
_BEFORE_ITS_NODE = frozenset({"FailedScheduling"})
_SUMMARY = "Unable to attach or mount volumes"
"""Start of a message that the kubelet repeats every two minutes; the event of the volume itself has more detail."""
_FORBIDDEN = re.compile(r'^pods "[^"]*" is forbidden: ')


@dataclass(frozen=True, slots=True)
class Subject:
    """Job or pod whose events may explain why an attempt does not run.

    Attributes:
        since: when it began to start, or was suspended.
        is_suspended: it is a Job that was admitted and then suspended.
    """

    namespace: str
    uid: str
    since: datetime
    is_pod: bool
    is_suspended: bool = False


@dataclass(frozen=True, slots=True)
class WaitCause:
    """Result of the last read of a subject's events.

    Attributes:
        since: ``since`` of the subject at that time. If it differs, the result is about an earlier start of its Job.
        read: when the events were read, or could not be.
        reason: None if no event has one of our reasons.
        message: empty if no event explains the wait.
    """

    since: datetime
    read: datetime
    reason: Reason | None = None
    message: str = ""


def missing_pods(job: JobView, pods: Iterable[PodView]) -> int:
    """Return the number of pods that a started Job lacks."""
    if job.start_time is None:
        return 0
    return max(0, job.parallelism - len({pod.index for pod in pods if pod.phase != "Failed"}))


def subjects(job: JobView, pods: Sequence[PodView]) -> list[Subject]:
    """Return the Job and the starting pods of an attempt whose events may explain why it does not run."""
    if job.suspended:
        at = stopped_at(job)
        return [] if at is None else [Subject(job.namespace, job.uid, at, is_pod=False, is_suspended=True)]
    found = [job_subject(job, pods)] if missing_pods(job, pods) else []
    starting = sorted((pod for pod in pods if pod.just_starts), key=lambda pod: (pod.index, pod.name))
    return [*found, *map(pod_subject, starting[:MOST_PODS])]


def job_subject(job: JobView, pods: Sequence[PodView]) -> Subject:
    """Return the Job as a subject; it has lacked pods since its start, or since the last of them failed."""
    ends = [pod.finished_at for pod in pods if pod.phase == "Failed" and pod.finished_at]
    since = max([job.start_time or EARLIEST, *ends])
    return Subject(job.namespace, job.uid, since, is_pod=False)


def pod_subject(pod: PodView) -> Subject:
    """Return the pod as a subject; it has been starting since it was scheduled."""
    return Subject(pod.namespace, pod.uid, pod.scheduled or pod.creation or EARLIEST, is_pod=True)


def due_at(subject: Subject, known: WaitCause | None) -> datetime:
    """Return when to read the events of a subject next."""
    read = known.read - subject.since if known is not None else timedelta.min
    for after in READ_AFTER:
        if read < after:
            return subject.since + after
    return subject.since + (read // READ_EVERY + 1) * READ_EVERY


def still_known(subject: Subject, known: Mapping[str, WaitCause]) -> WaitCause | None:
    """Return the known cause if it is about this start of the subject, else None."""
    cause = known.get(subject.uid)
    return cause if cause is not None and cause.since == subject.since else None


def cause_of(subject: Subject, events: Iterable[object], now: datetime) -> WaitCause:
    """Return the cause that the events of a subject name. ``events`` come from the API server, with any content."""
    if subject.is_suspended:
        why = suspension(map(event_view, events))
        return WaitCause(subject.since, now) if why is None else WaitCause(subject.since, now, why.reason, why.message)
    seen = [event for event in map(event_view, events) if subject.is_pod or (event.time or now) >= subject.since]
    over = max((_time(event) for event in seen if subject.is_pod and event.reason in _OVER), default=EARLIEST)
    meanings = _POD_REASONS if subject.is_pod else _JOB_REASONS
    warnings = [
        event
        for event in seen
        if event.warning and event.message and event.reason not in _BEFORE_ITS_NODE and _time(event) >= over
    ]
    if not subject.is_pod:
        warnings = [event for event in warnings if event.reason in meanings]
    best = max(
        warnings,
        key=lambda event: (event.reason in meanings, not event.message.startswith(_SUMMARY), _time(event)),
        default=None,
    )
    if best is None:
        return WaitCause(subject.since, now)
    reason, message = meanings.get(best.reason), best.message
    message = _without_pod_name(message) if reason else f"{best.reason}: {message}"
    return WaitCause(subject.since, now, reason, one_line(message, TEXT_LENGTH))


def unread(subject: Subject, known: WaitCause | None, now: datetime) -> WaitCause:
    """Return the cause of a subject whose events could not be read: the same as before."""
    same = known is not None and known.since == subject.since
    return replace(known, read=now) if known is not None and same else WaitCause(subject.since, now)


def _time(event: EventView) -> datetime:
    return event.time or EARLIEST


def _without_pod_name(message: str) -> str:
    """Return the message of an event without the name of the pod that could not be created.

    Each try has another pod name. Each would be a new message, and a new message is another write of the status.
    """
    message = message.removeprefix("(combined from similar events): ").removeprefix("Error creating: ")
    return _FORBIDDEN.sub("", message)
