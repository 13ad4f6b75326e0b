"""Pods of the newest start of a Job, which determine the state and the end of its attempt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from maskrcnn_operator.api.status import EARLIEST
from maskrcnn_operator.jobs.views import JobView, PodView

CLOCK_SKEW = timedelta(seconds=10)
"""Tolerated clock difference between the controller manager (a Job's startTime) and the API server (a pod's creation
time)."""


def oldest_first(pods: Sequence[PodView]) -> list[PodView]:
    """Return the pods in the order of their creation.

    Of pods created in the same second, one that has ended or was deleted is older: a pod is replaced after its end.
    A pod that has succeeded comes last: the Job controller never replaces it.
    """
    return sorted(pods, key=_age)


def _age(pod: PodView) -> tuple[bool, datetime, bool, bool, datetime]:
    return (
        pod.succeeded,
        pod.creation or EARLIEST,
        not pod.ended,
        pod.deletion_timestamp is None,
        pod.finished_at or EARLIEST,
    )


def pods_of_newest_start(job: JobView | None, pods: Sequence[PodView]) -> list[PodView]:
    """Return the newest pod of each completion index, without pods of an earlier start of the Job.

    Earlier pods remain in the cache: a Job that Kueue preempts is suspended and started again, and a Job of an older
    release replaces a disrupted pod. The pods of one index are ordered by the clock of the API server alone. Whether
    the newest pod of an index is of the newest start is decided by startTime, which comes from another clock, except
    for a running pod that was not deleted: a suspension deletes all running pods. If no failed pod remains, the clocks
    may differ by more than :data:`CLOCK_SKEW`. Then failed pods that were not deleted are kept: they did not end an
    earlier start.
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
