"""One Job with its pods as a run."""

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
"""How long past its deletionTimestamp a pod that has not ended counts as not yet lost."""
UNSEEN_AFTER = timedelta(seconds=15)
"""How long the pods of a finished or deleted Job are waited for: Jobs and pods are watched apart."""

_GOOD = ("Complete", "SuccessCriteriaMet")
_ENDING = (*_GOOD, "Failed", "FailureTarget")


@dataclass(frozen=True)
class Attempt:
    """What there is of one attempt.

    Attributes:
        job: None where it is gone and only pods are left.
        pods: all of its pods, those of index 0 first.
        causes: by uid, what the events of Jobs and pods have said.
    """

    step: str
    number: int
    job: JobView | None
    pods: tuple[PodView, ...]
    causes: Mapping[str, WaitCause] = field(default_factory=dict)

    def active(self, now: datetime) -> list[PodView]:
        """Pods whose task may still run; lost ones left out."""
        return [pod for pod in self.pods if not pod.ended and not is_lost(pod, now)]

    @property
    def newest(self) -> list[PodView]:
        """The pods of the newest start of its Job."""
        return pods_of_newest_start(self.job, self.pods)


def is_lost(pod: PodView, now: datetime) -> bool:
    """Whether a pod should have ended long ago: its node does not answer."""
    return not pod.terminal and pod.deletion_timestamp is not None and pod.deletion_timestamp + LOST_AFTER <= now


def lost_later(pods: Sequence[PodView], now: datetime) -> datetime | None:
    """When the next of the pods that are being deleted counts as lost, if it has not ended by then."""
    due = [pod.deletion_timestamp + LOST_AFTER for pod in pods if not pod.terminal and pod.deletion_timestamp]
    return min((moment for moment in due if moment > now), default=None)


def run_of(attempt: Attempt, now: datetime) -> tuple[Run, datetime | None]:
    """The attempt as a run, and when to look again even if nothing happens."""
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
    """A Job that is Complete or Failed, or is about to be: its pods may not have been seen to end yet."""
    good = any(map(job.condition, _GOOD))
    unseen = _unseen_until(attempt, job, now, index_0=good)
    if attempt.active(now) or unseen:
        stopping = not good or job.deletion_timestamp is not None
        return _live(attempt, RunState.STOPPING if stopping else RunState.RUNNING, now), unseen
    return (_succeeded if good or _all_went_well(attempt, job) else _failed)(attempt, now), None


def _all_went_well(attempt: Attempt, job: JobView) -> bool:
    """Whether the task is done although its Job is not Complete.

    A sidecar that fails makes its pod fail. Where index 0 ends well and another pod fails at the same moment, the Job
    controller looks at the failure first.
    """
    return _all_indexes_succeeded(attempt, job) or succeeded_all_the_same(attempt.pods)


def _all_indexes_succeeded(attempt: Attempt, job: JobView) -> bool:
    return len({pod.index for pod in attempt.newest if pod.succeeded}) >= job.parallelism


def _underway(attempt: Attempt, job: JobView, now: datetime) -> Run:
    if job.suspended and not attempt.active(now) and _all_indexes_succeeded(attempt, job):
        # suspended at the moment when its task ended: sidecars keep the Job from being Complete
        return replace(_succeeded(attempt, now), unfinished=True)
    if job.suspended:
        return _live(attempt, RunState.QUEUED, now)
    if _lost(attempt, now) and not attempt.active(now):
        return _failed(attempt, now)
    pods = attempt.newest
    held = [pod for pod in pods if not pod.terminal and pod.ended and pod.accompanied]
    if held and not attempt.active(now) and len(pods) >= job.parallelism:
        # sidecars run, so that neither the pods nor their Job end by themselves
        return replace((_succeeded if _all_went_well(attempt, job) else _failed)(attempt, now), unfinished=True)
    # a container that has ended does not make the attempt start again; the Job is about to say what it makes of it
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
    """Return when its task first ran: all pods of a worker group, or one that has ended since."""
    ended = [pod for pod in attempt.pods if pod.ended and pod.has_run]
    running = [pod for pod in attempt.newest if pod.has_run]
    if not ended and len(running) < (attempt.job.parallelism if attempt.job else 1):
        return None
    return min((pod.started_at for pod in (*ended, *running) if pod.started_at), default=now)


def _unseen_until(attempt: Attempt, job: JobView, now: datetime, *, index_0: bool) -> datetime | None:
    """Until when the pods of a finished Job (of a good end: index 0) are waited for; None once one was seen to end."""
    if any(pod.ended and (pod.index == 0 or not index_0) for pod in attempt.newest):
        return None
    told = [condition.last_transition_time for condition in job.conditions if condition.last_transition_time]
    until = max(told, default=now) + UNSEEN_AFTER
    return until if until > now else None


def _end(attempt: Attempt, now: datetime) -> datetime:
    """When it ended: the same whenever it is asked."""
    job = attempt.job
    if job is not None and job.completion_time is not None:
        return job.completion_time
    ends = [pod.finished_at for pod in attempt.pods if pod.finished_at]
    ends += [pod.deletion_timestamp + LOST_AFTER for pod in _lost_pods(attempt, now) if pod.deletion_timestamp]
    if ends:
        return max(ends)
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    told = failed.last_transition_time if failed else None
    return told or (job.deletion_timestamp if job else None) or now
