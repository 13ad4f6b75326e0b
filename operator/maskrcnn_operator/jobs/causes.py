"""Events as the cause of a wait: which Job's or pod's are read, when, and which of them counts.

A Job without pods and a pod whose volumes cannot be mounted say nothing of it in their status: only events do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.jobs.kueue import stopped_at, suspension
from maskrcnn_operator.jobs.parse import event_view
from maskrcnn_operator.jobs.views import EventView, JobView, PodView

READ_AFTER = (timedelta(seconds=15), timedelta(seconds=45))
"""When the events are read first: a start that goes well rarely takes longer than the first, and what keeps it from
going well is told within a minute."""
READ_EVERY = timedelta(minutes=5)
MOST_PODS = 8
"""Pods of an attempt whose events are read: those of a worker group mount the same volumes."""
TEXT_LENGTH = 500

_JOB_REASONS: Mapping[str, Reason] = {"FailedCreate": Reason.FAILED_CREATE}
_POD_REASONS: Mapping[str, Reason] = {
    "FailedMount": Reason.FAILED_MOUNT,
    "FailedMapVolume": Reason.FAILED_MOUNT,
    "FailedAttachVolume": Reason.FAILED_ATTACH_VOLUME,
    "FailedCreatePodSandBox": Reason.FAILED_CREATE_POD_SANDBOX,
}
TOLD_BY_EVENTS = frozenset({*_JOB_REASONS.values(), *_POD_REASONS.values()})
"""Reasons that nothing but events gives."""
_OVER = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""Events of a pod whose volumes are mounted and whose sandbox is made."""
_BEFORE_ITS_NODE = frozenset({"FailedScheduling"})
_SUMMARY = "Unable to attach or mount volumes"
"""Begins an event that the kubelet adds every two minutes; the one of the volume itself says more."""
_FORBIDDEN = re.compile(r'^pods "[^"]*" is forbidden: ')
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Subject:
    """A Job or a pod whose events may say why an attempt does not run.

    Attributes:
        since: when it began to start, or was suspended.
        is_suspended: whether it is a Job that was admitted and then suspended.
    """

    namespace: str
    uid: str
    since: datetime
    is_pod: bool
    is_suspended: bool = False


@dataclass(frozen=True, slots=True)
class WaitCause:
    """What the events of a subject said when they were last read.

    Attributes:
        since: of the subject as it was then; of an earlier start of its Job it says nothing.
        read: when they were read, or could not be.
        reason: None where the events name none of our vocabulary.
        message: empty where they say nothing.
    """

    since: datetime
    read: datetime
    reason: Reason | None = None
    message: str = ""


def missing_pods(job: JobView, pods: Iterable[PodView]) -> int:
    """Return how many pods of a Job that was started do not exist."""
    if job.start_time is None:
        return 0
    return max(0, job.parallelism - len({pod.index for pod in pods if pod.phase != "Failed"}))


def subjects(job: JobView, pods: Sequence[PodView]) -> list[Subject]:
    """Return whose events may say why an attempt does not run: its Job's, those of pods that only start."""
    if job.suspended:
        at = stopped_at(job)
        return [] if at is None else [Subject(job.namespace, job.uid, at, is_pod=False, is_suspended=True)]
    found = [job_subject(job, pods)] if missing_pods(job, pods) else []
    starting = sorted((pod for pod in pods if pod.just_starts), key=lambda pod: (pod.index, pod.name))
    return [*found, *map(pod_subject, starting[:MOST_PODS])]


def job_subject(job: JobView, pods: Sequence[PodView]) -> Subject:
    """The Job; it lacks pods since its start, or since the last of them failed."""
    ends = [pod.finished_at for pod in pods if pod.phase == "Failed" and pod.finished_at]
    since = max([job.start_time or _LONG_AGO, *ends])
    return Subject(job.namespace, job.uid, since, is_pod=False)


def pod_subject(pod: PodView) -> Subject:
    """The pod; it starts since it got its node."""
    return Subject(pod.namespace, pod.uid, pod.scheduled or pod.creation or _LONG_AGO, is_pod=True)


def due_at(subject: Subject, known: WaitCause | None) -> datetime:
    """Return when the events of a subject are to be read next."""
    read = known.read - subject.since if known is not None else timedelta.min
    for after in READ_AFTER:
        if read < after:
            return subject.since + after
    return subject.since + (read // READ_EVERY + 1) * READ_EVERY


def still_known(subject: Subject, known: Mapping[str, WaitCause]) -> WaitCause | None:
    """Return what is known of this start of a subject."""
    cause = known.get(subject.uid)
    return cause if cause is not None and cause.since == subject.since else None


def cause_of(subject: Subject, events: Iterable[object], now: datetime) -> WaitCause:
    """Return what the events of a subject say, objects as the API server gives them, whatever they are."""
    if subject.is_suspended:
        said = suspension(map(event_view, events))
        return (
            WaitCause(subject.since, now) if said is None else WaitCause(subject.since, now, said.reason, said.message)
        )
    seen = [event for event in map(event_view, events) if subject.is_pod or (event.time or now) >= subject.since]
    over = max((_time(event) for event in seen if subject.is_pod and event.reason in _OVER), default=_LONG_AGO)
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
    message = _without_what_changes(message) if reason else f"{best.reason}: {message}"
    return WaitCause(subject.since, now, reason, one_line(message, TEXT_LENGTH))


def unread(subject: Subject, known: WaitCause | None, now: datetime) -> WaitCause:
    """Return what is known of a subject whose events could not be read: the same as before."""
    same = known is not None and known.since == subject.since
    return replace(known, read=now) if known is not None and same else WaitCause(subject.since, now)


def _time(event: EventView) -> datetime:
    return event.time or _LONG_AGO


def _without_what_changes(message: str) -> str:
    """Return the message of an event without the name of a pod that could not be made: each attempt has another.

    A status is written only where something has changed, and every message would be new.
    """
    message = message.removeprefix("(combined from similar events): ").removeprefix("Error creating: ")
    return _FORBIDDEN.sub("", message)
