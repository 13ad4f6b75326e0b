"""Pods of the newest start of a Job: those that say how its attempt stands, and how it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from maskrcnn_operator.jobs.views import JobView, PodView

CLOCK_SKEW = timedelta(seconds=10)
"""How far the clocks of the controller manager (a Job's startTime) and the API server (a pod's creation) may differ."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def oldest_first(pods: Sequence[PodView]) -> list[PodView]:
    """Return the pods in the order in which they were made.

    Of pods made in the same second, one that has ended or was deleted is older: a pod is replaced once it has ended.
    One that has succeeded comes last: the Job controller never replaces it.
    """
    return sorted(pods, key=_age)


def _age(pod: PodView) -> tuple[bool, datetime, bool, bool, datetime]:
    return (
        pod.succeeded,
        pod.creation or _LONG_AGO,
        not pod.ended,
        pod.deletion_timestamp is None,
        pod.finished_at or _LONG_AGO,
    )


def pods_of_newest_start(job: JobView | None, pods: Sequence[PodView]) -> list[PodView]:
    """Return the newest pod of each completion index, without those that an earlier start of the Job has left.

    A Job that Kueue preempts is suspended and started again, and a Job of an earlier release replaces a pod that is
    disrupted: the pods before stay known. To order the pods of one index takes no other clock than the API server's. An
    index that has no pod of the newest start takes a comparison with startTime, which is of another clock, unless the
    pod runs and was not deleted: a suspension deletes every pod that runs. Where no failed pod is left, the
    clocks may be far apart: one that was not deleted has ended no earlier start.
    """
    newest = {pod.index: pod for pod in oldest_first(pods)}
    found = [newest[index] for index in sorted(newest)]
    if job is None or job.start_time is None:
        return found
    since = job.start_time - CLOCK_SKEW
    made = [
        pod
        for pod in found
        if pod.creation is None
        or pod.creation >= since
        or pod.succeeded
        or not (pod.ended or pod.deletion_timestamp is not None)
    ]
    if any(pod.failed for pod in made):
        return made
    return [pod for pod in found if pod in made or (pod.failed and pod.deletion_timestamp is None)]
