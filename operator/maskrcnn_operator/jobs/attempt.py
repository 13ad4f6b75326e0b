"""Run of an attempt, computed from its Job and pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from maskrcnn_operator.core.runs import Run, RunState
from maskrcnn_operator.jobs.causes import WaitCause, still_known, subjects
from maskrcnn_operator.jobs.ending import ending, reported_result, succeeded_all_the_same
from maskrcnn_operator.jobs.newest import pods_of_newest_start
from maskrcnn_operator.jobs.views import JobView, PodView
from maskrcnn_operator.jobs.waiting import waiting_reason
from maskrcnn_trainer.errors import EXIT_OK

LOST_AFTER = timedelta(seconds=60)
"""A pod that has not ended this long after its deletionTimestamp counts as lost."""
UNSEEN_AFTER = timedelta(seconds=15)
"""Longest wait for the pods of a finished or deleted Job: Jobs and pods arrive by separate watches."""

_GOOD = ("Complete", "SuccessCriteriaMet")
_ENDING = (*_GOOD, "Failed", "FailureTarget")


@dataclass(frozen=True)
class Attempt:
    """Job and pods of one attempt.

    Attributes:
        job: None if it is gone and only pods are left.
        pods: all of its pods, those of index 0 first.
        causes: causes read from the events of Jobs and pods, by uid.
    """

    step: str
    number: int
    job: JobView | None
    pods: tuple[PodView, ...]
    causes: Mapping[str, WaitCause] = field(default_factory=dict)

    def active(self, now: datetime) -> list[PodView]:
        """Return the pods whose task may still run, without the lost ones."""
        return [pod for pod in self.pods if not pod.ended and not is_lost(pod, now)]

    @property
    def newest(self) -> list[PodView]:
        """Pods of the newest start of its Job."""
        return pods_of_newest_start(self.job, self.pods)


def is_lost(pod: PodView, now: datetime) -> bool:
    """Return whether a pod should have ended long ago, which means that its node does not respond."""
    return not pod.terminal and pod.deletion_timestamp is not None and pod.deletion_timestamp + LOST_AFTER <= now


def lost_later(pods: Sequence[PodView], now: datetime) -> datetime | None:
    """Return when the next of the pods being deleted counts as lost, unless it ends before; None without one."""
    due = [pod.deletion_timestamp + LOST_AFTER for pod in pods if not pod.terminal and pod.deletion_timestamp]
    return min((moment for moment in due if moment > now), default=None)


def run_of(attempt: Attempt, now: datetime) -> tuple[Run, datetime | None]:
    """Return the run of an attempt, and when to look again even if nothing happens."""
    job = attempt.job
    if job is None or (job.deletion_timestamp is not None and not job.finished):
        run, wake = _deleted(attempt, now)
    elif any(map(job.condition, _ENDING)):
        run, wake = _finished(attempt, job, now)
    else:
        run, wake = _underway(attempt, job, now), None
    later = [moment for moment in (wake, lost_later(attempt.pods, now)) if moment]
    return run, min(later, default=None)


def _deleted(attempt: Attempt, now: datetime) -> tuple[Run, datetime | None]:
    deleted = attempt.job.deletion_timestamp if attempt.job else None
    unseen = deleted + UNSEEN_AFTER if deleted and not attempt.pods else None
    if attempt.active(now) or (unseen and unseen > now):
        return _live(attempt, RunState.STOPPING, now), unseen
    return _succeeded(attempt, now) if succeeded_all_the_same(attempt.pods) else _failed(attempt, now), None


def _finished(attempt: Attempt, job: JobView, now: datetime) -> tuple[Run, datetime | None]:
    """Handle a Job that is Complete or Failed, or is about to be; the end of its pods may not have been seen yet."""
    good = any(map(job.condition, _GOOD))
    unseen = _unseen_until(attempt, job, now, index_0=good)
    if attempt.active(now) or unseen:
        stopping = not good or job.deletion_timestamp is not None
        return _live(attempt, RunState.STOPPING if stopping else RunState.RUNNING, now), unseen
    return (_succeeded if good or _all_went_well(attempt, job) else _failed)(attempt, now), None


def _all_went_well(attempt: Attempt, job: JobView) -> bool:
    """Return whether the task is done although its Job is not Complete.

    A sidecar that fails makes its pod fail. If index 0 succeeds and another pod fails at the same moment, the Job
    controller handles the failure first.
    """
    return _all_indexes_succeeded(attempt, job) or succeeded_all_the_same(attempt.pods)


def _all_indexes_succeeded(attempt: Attempt, job: JobView) -> bool:
    return len({pod.index for pod in attempt.newest if pod.succeeded}) >= job.parallelism


def _underway(attempt: Attempt, job: JobView, now: datetime) -> Run:
    if job.suspended and not attempt.active(now) and _all_indexes_succeeded(attempt, job):
        # suspended at the moment its task ended: sidecars keep the Job from becoming Complete
        return replace(_succeeded(attempt, now), unfinished=True)
    if job.suspended:
        return _live(attempt, RunState.QUEUED, now)
    if _lost(attempt, now) and not attempt.active(now):
        return _failed(attempt, now)
    pods = attempt.newest
    held = [pod for pod in pods if not pod.terminal and pod.ended and pod.accompanied]
    if held and not attempt.active(now) and len(pods) >= job.parallelism:
        # sidecars still run, so neither the pods nor their Job end by themselves
        return replace((_succeeded if _all_went_well(attempt, job) else _failed)(attempt, now), unfinished=True)
    # a container that has ended does not set the attempt back to Starting; the Job's condition follows soon
    running = len([pod for pod in pods if pod.has_run]) >= job.parallelism
    run = _live(attempt, RunState.RUNNING if running else RunState.STARTING, now)
    if any(pod.failed and pod.deletion_timestamp is None for pod in held):
        how = ending(job, attempt.pods)
        return replace(run, failing=how.message, exit_code=how.exit_code)
    return run


def _live(attempt: Attempt, state: RunState, now: datetime) -> Run:
    job = attempt.job
    reason, message = "", ""
    if state is RunState.STARTING and job is not None:
        reason, message = waiting_reason(job, attempt.pods, now, attempt.causes)
    elif state is RunState.QUEUED and job is not None:
        known = next((still_known(subject, attempt.causes) for subject in subjects(job, attempt.pods)), None)
        reason = known.reason.value if known is not None and known.reason is not None else ""
        message = (
            f"waits for LocalQueue {job.queue}" if job.queue else "its Job was suspended by another controller or user"
        )
        message = known.message if known is not None and known.message else message
    elif state is RunState.STOPPING and job is not None:
        how = ending(job, attempt.pods)
        message = how.message if job.deletion_timestamp is None or how.by_itself else ""
    return _run(attempt, state, now, waiting_reason=reason, message=message, lost=_lost(attempt, now))


def _succeeded(attempt: Attempt, now: datetime) -> Run:
    return _run(
        attempt,
        RunState.SUCCEEDED,
        now,
        exit_code=EXIT_OK,
        result=reported_result(attempt.pods),
        ended=_end(attempt, now),
    )


def _failed(attempt: Attempt, now: datetime) -> Run:
    how, lost, job = ending(attempt.job, attempt.pods), _lost(attempt, now), attempt.job
    deleted = job is None or (job.deletion_timestamp is not None and not job.finished)
    return _run(
        attempt,
        RunState.FAILED,
        now,
        exit_code=how.exit_code,
        result=how.result,
        message=how.message or ("its Job was deleted" if deleted else ""),
        disrupted=how.disrupted or bool(lost) or (deleted and not how.by_itself),
        lost=lost,
        ended=_end(attempt, now),
    )


def _run(attempt: Attempt, state: RunState, now: datetime, **fields: Any) -> Run:
    job, pods = attempt.job, attempt.pods
    known: dict[str, Any] = {
        "fingerprint": job.fingerprint if job else pods[0].fingerprint,
        "older_fingerprints": job.older_fingerprints if job else pods[0].older_fingerprints,
        "template": job.template if job else pods[0].template,
        "take_over_from": job.take_over_from if job else None,
        "name": job.name if job else "",
        "image": job.image if job else None,
        "started": job.start_time if job else None,
        "ran": _ran(attempt, now),
        "deleted": job is None or job.deletion_timestamp is not None,
    }
    return Run(attempt.step, attempt.number, state, **(known | fields))


def _lost_pods(attempt: Attempt, now: datetime) -> list[PodView]:
    return [pod for pod in attempt.pods if not pod.ended and is_lost(pod, now)]


def _lost(attempt: Attempt, now: datetime) -> str:
    lost = _lost_pods(attempt, now)
    if not lost:
        return ""
    nodes = _some(list(dict.fromkeys(pod.node for pod in lost if pod.node))) or "no node"
    names = _some([pod.name for pod in lost])
    return (
        f"{names} did not end on {nodes}: remove the node, or give it the taint "
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    )


def _some(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _ran(attempt: Attempt, now: datetime) -> datetime | None:
    """Return when its task first ran: when all pods of a worker group did, or one that has ended since."""
    ended = [pod for pod in attempt.pods if pod.ended and pod.has_run]
    running = [pod for pod in attempt.newest if pod.has_run]
    if not ended and len(running) < (attempt.job.parallelism if attempt.job else 1):
        return None
    return min((pod.started_at for pod in (*ended, *running) if pod.started_at), default=now)


def _unseen_until(attempt: Attempt, job: JobView, now: datetime, *, index_0: bool) -> datetime | None:
    """Return until when to wait for the end of a pod of a finished Job; None once one has been seen to end.

    With ``index_0``, only pods of index 0 count.
    """
    if any(pod.ended and (pod.index == 0 or not index_0) for pod in attempt.newest):
        return None
    changes = [condition.last_transition_time for condition in job.conditions if condition.last_transition_time]
    until = max(changes, default=now) + UNSEEN_AFTER
    return until if until > now else None


def _end(attempt: Attempt, now: datetime) -> datetime:
    """Return when the attempt ended; later calls return the same time."""
    job = attempt.job
    if job is not None and job.completion_time is not None:
        return job.completion_time
    ends = [pod.finished_at for pod in attempt.pods if pod.finished_at]
    ends += [pod.deletion_timestamp + LOST_AFTER for pod in _lost_pods(attempt, now) if pod.deletion_timestamp]
    if ends:
        return max(ends)
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    failed_at = failed.last_transition_time if failed else None
    return failed_at or (job.deletion_timestamp if job else None) or now
