"""One Job with its pods as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from maskrcnn_operator.core.runs import Run, RunState
from maskrcnn_operator.jobs.ending import ending, last_word, succeeded_all_the_same
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
    """

    step: str
    number: int
    job: JobView | None
    pods: tuple[PodView, ...]

    def active(self, now: datetime) -> list[PodView]:
        """Pods that may still do something; lost ones left out."""
        return [pod for pod in self.pods if not pod.terminal and not is_lost(pod, now)]


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
    # where index 0 ends well and another pod fails at the same moment, the Job controller looks at the failure first
    good = good or succeeded_all_the_same(attempt.pods)
    return (_succeeded if good else _failed)(attempt, now), None


def _underway(attempt: Attempt, job: JobView, now: datetime) -> Run:
    if job.suspended:
        return _live(attempt, RunState.QUEUED, now)
    if _lost(attempt, now) and not attempt.active(now):
        return _failed(attempt, now)
    running = len({pod.index for pod in attempt.pods if pod.running}) >= job.parallelism
    return _live(attempt, RunState.RUNNING if running else RunState.STARTING, now)


def _live(attempt: Attempt, state: RunState, now: datetime) -> Run:
    job = attempt.job
    reason, message = "", ""
    if state is RunState.STARTING and job is not None:
        reason, message = waiting_reason([pod for pod in attempt.pods if not pod.terminal], job.parallelism)
    elif state is RunState.QUEUED and job is not None:
        message = f"waits for LocalQueue {job.queue}" if job.queue else "its Job was suspended by somebody else"
    elif state is RunState.STOPPING and job is not None and job.deletion_timestamp is None:
        message = ending(job, attempt.pods).message
    return _run(attempt, state, waiting_reason=reason, message=message, lost=_lost(attempt, now))


def _succeeded(attempt: Attempt, now: datetime) -> Run:
    return _run(
        attempt, RunState.SUCCEEDED, exit_code=EXIT_OK, result=last_word(attempt.pods), ended=_end(attempt, now)
    )


def _failed(attempt: Attempt, now: datetime) -> Run:
    how, lost, job = ending(attempt.job, attempt.pods), _lost(attempt, now), attempt.job
    deleted = job is None or (job.deletion_timestamp is not None and not job.finished)
    return _run(
        attempt,
        RunState.FAILED,
        exit_code=how.code,
        result=how.result,
        message=how.message or ("its Job was deleted" if deleted else ""),
        disrupted=how.disrupted or deleted or bool(lost),
        lost=lost,
        ended=_end(attempt, now),
    )


def _run(attempt: Attempt, state: RunState, **fields: object) -> Run:
    job, pods = attempt.job, attempt.pods
    known = {
        "fingerprint": job.fingerprint if job else pods[0].fingerprint,
        "name": job.name if job else "",
        "image": job.image if job else None,
        "started": _started(attempt),
        "deleted": job is None or job.deletion_timestamp is not None,
    }
    return Run(attempt.step, attempt.number, state, **(known | fields))  # type: ignore[arg-type]


def _lost(attempt: Attempt, now: datetime) -> str:
    lost = [pod for pod in attempt.pods if is_lost(pod, now)]
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


def _started(attempt: Attempt) -> datetime | None:
    """When the Job was started or last admitted, or its pod was last replaced: its pods get ready from then on."""
    if attempt.job is None or attempt.job.start_time is None:
        return None
    ends = [pod.finished_at for pod in attempt.pods if pod.phase == "Failed" and pod.finished_at]
    return max([attempt.job.start_time, *(ends if attempt.job.parallelism == 1 else [])])


def _unseen_until(attempt: Attempt, job: JobView, now: datetime, *, index_0: bool) -> datetime | None:
    """Until when the pods of a finished Job (of a good end: index 0) are waited for; None once one was seen to end."""
    if any(pod.terminal and (pod.index == 0 or not index_0) for pod in attempt.pods):
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
    ends += [
        pod.deletion_timestamp + LOST_AFTER for pod in attempt.pods if is_lost(pod, now) and pod.deletion_timestamp
    ]
    if ends:
        return max(ends)
    failed = (job.condition("Failed") or job.condition("FailureTarget")) if job else None
    told = failed.last_transition_time if failed else None
    return told or (job.deletion_timestamp if job else None) or now
