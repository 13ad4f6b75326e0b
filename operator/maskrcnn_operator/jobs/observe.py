"""Runs of an experiment, computed from its Jobs and pods."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.runs import Run, RunState
from maskrcnn_operator.jobs.attempt import Attempt, is_lost, lost_later, run_of
from maskrcnn_operator.jobs.causes import REASONS_FROM_EVENTS, Subject, WaitCause, due_at, subjects
from maskrcnn_operator.jobs.views import JobView, PodView

MOST_AHEAD = 100
"""Most attempts by which Jobs may be ahead of the status: one after a crash between two writes, some more while the API
server refuses the status. A higher number is forged; if adopted, it would remain the newest attempt forever."""
RELABELED_CHECK_INTERVAL = timedelta(seconds=30)
"""Interval at which a relabeled Job is read."""
_NO_CAUSES: Mapping[str, WaitCause] = {}
_JOB_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class RelabeledJob:
    """Running Job of ours whose labels or owner were changed, so that only its name identifies it.

    Attributes:
        step, attempt: those for which the status names the Job.
        why: what was changed and how to fix it, as a sentence.
    """

    job: JobView
    step: str
    attempt: int
    why: str


@dataclass(frozen=True)
class Observation:
    """State of an experiment in the cluster.

    Attributes:
        runs: its attempts.
        lingering: by step, a list in words of the pods that have the experiment's labels (with any uid), are neither
            terminal nor lost, and belong to no live run of this experiment.
        to_read: Jobs and pods whose events should be read now, since they may explain why an attempt does not run.
        wake_at: when to look again even if nothing happens; None for never.
    """

    runs: tuple[Run, ...] = ()
    lingering: Mapping[str, str] = field(default_factory=dict)
    to_read: tuple[Subject, ...] = ()
    wake_at: datetime | None = None


def observe(
    experiment: MaskRCNNExperiment,
    jobs: Sequence[JobView],
    pods: Sequence[PodView],
    now: datetime,
    relabeled: Sequence[RelabeledJob] = (),
    *,
    causes: Mapping[str, WaitCause] = _NO_CAUSES,
) -> Observation:
    """Return the observation of an experiment.

    Callers should keep a pod that was deleted after its end in ``pods`` as long as its Job exists: when a worker group
    fails, the Job controller deletes its other pods, and the termination message of index 0 would be lost.

    Args:
        experiment: the experiment, with the status that was last written.
        jobs: all Jobs in its namespace that have its name as a label, with any uid.
        pods: the same for pods.
        now: aware.
        relabeled: Jobs that the status names and whose labels no longer match, so that no watch delivers their changes.
        causes: causes read from the events of Jobs and pods, by uid.
    """
    uids = {held.job.uid for held in relabeled}
    theirs = [pod for pod in pods if pod.job_uid in uids]
    jobs, pods = [job for job in jobs if job.uid not in uids], [pod for pod in pods if pod.job_uid not in uids]
    runs: list[Run] = []
    to_read: list[Subject] = []
    claimed: set[str] = set()
    wake: list[datetime] = [now + RELABELED_CHECK_INTERVAL] if relabeled else []
    for attempt in _attempts(experiment, jobs, pods, causes):
        run, at = run_of(attempt, now)
        runs.append(run)
        if attempt.job is not None and run.state in (RunState.STARTING, RunState.QUEUED):
            about = subjects(attempt.job, attempt.pods)
            if any(subject.uid not in causes for subject in about):
                runs[-1] = _with_previous_reason(run, experiment)
            due = [(due_at(subject, causes.get(subject.uid)), subject) for subject in about]
            to_read += [subject for moment, subject in due if moment <= now]
            wake += [moment for moment, _ in due if moment > now]
        wake += [at] if at else []
        # a run that has ended may have pods in which a sidecar still runs
        if run.live:
            claimed.update(pod.uid for pod in attempt.pods)
    lingering: dict[str, list[PodView]] = defaultdict(list)
    for pod in pods:
        if not pod.terminal and pod.uid not in claimed and not is_lost(pod, now):
            lingering[pod.step].append(pod)
    at = lost_later([pod for found in lingering.values() for pod in found], now)
    wake += [at] if at else []
    runs += [_held(job, [pod for pod in theirs if pod.job_uid == job.job.uid], now) for job in relabeled]
    runs.sort(key=lambda run: (run.step, run.attempt))
    named = {step: _named(sorted(found, key=lambda pod: pod.name)) for step, found in sorted(lingering.items())}
    return Observation(tuple(runs), named, tuple(to_read), min(wake, default=None))


def have_ended(jobs: Sequence[JobView], pods: Sequence[PodView], now: datetime) -> bool:
    """Return whether all Jobs are finished, and all pods are terminal or lost."""
    return all(job.finished for job in jobs) and all(pod.terminal or is_lost(pod, now) for pod in pods)


def _with_previous_reason(run: Run, experiment: MaskRCNNExperiment) -> Run:
    """Return a run with the reason in the status, if this replica has not read all events of the run yet.

    Otherwise each restart of the operator would remove the reason, then set it again and record another event.
    """
    step = experiment.status.step(run.step)
    if step is None or step.attempt != run.attempt or step.state is not StepState.STARTING:
        return run
    if run.waiting_reason or run.message or step.reason not in REASONS_FROM_EVENTS:
        return run
    return replace(run, waiting_reason=step.reason, message=step.message)


def _held(relabeled: RelabeledJob, pods: Sequence[PodView], now: datetime) -> Run:
    """Return the run of a relabeled Job; it is live as long as the Job runs, since the Job may create more pods."""
    attempt = Attempt(relabeled.step, relabeled.attempt, relabeled.job, tuple(pods))
    run, _ = run_of(attempt, now)
    return replace(run, state=run.state if run.live else RunState.STOPPING, held=relabeled.why, lost="")


def missing_jobs(experiment: MaskRCNNExperiment, jobs: Sequence[JobView]) -> tuple[str, ...]:
    """Return the names of Jobs of live steps that ``jobs`` lacks; only a read from the API server proves them gone.

    A Job whose labels no longer show which attempt it is counts as missing, too. A name that isn't valid for a Job is
    left out: another writer put it into the status.
    """
    return tuple(
        step.job_name
        for step in experiment.status.steps
        if step.state in LIVE_STATES
        and step.job_name
        and _JOB_NAME.fullmatch(step.job_name)
        and not any(job.name == step.job_name and is_attempt_of(job, experiment, step) for job in jobs)
    )


def is_attempt_of(job: JobView, experiment: MaskRCNNExperiment, step: StepStatus) -> bool:
    """Return whether a Job is the newest attempt of a step by its labels and owner."""
    names = (job.namespace, job.experiment, job.experiment_uid, job.step, job.attempt)
    metadata = experiment.metadata
    return names == (metadata.namespace, metadata.name, metadata.uid, step.name, step.attempt)


def _attempts(
    experiment: MaskRCNNExperiment, jobs: Sequence[JobView], pods: Sequence[PodView], causes: Mapping[str, WaitCause]
) -> list[Attempt]:
    """Return our Jobs with their pods, then the attempts of which only pods with our labels are left."""
    uid = experiment.metadata.uid
    newest = {step.name: step.attempt for step in experiment.status.steps}

    def is_possible(step: str, attempt: int) -> bool:
        return bool(step) and 0 < attempt <= newest.get(step, 0) + MOST_AHEAD

    ours = [job for job in jobs if job.experiment_uid == uid and is_possible(job.step, job.attempt)]
    by_job: dict[str, list[PodView]] = defaultdict(list)
    for pod in sorted(pods, key=lambda pod: (pod.index, pod.name)):
        by_job[pod.job_uid].append(pod)
    found = [Attempt(job.step, job.attempt, job, tuple(by_job.get(job.uid, ())), causes) for job in ours]
    taken = {(attempt.step, attempt.number) for attempt in found}
    known = {job.uid for job in jobs}
    orphans: dict[tuple[str, int], list[PodView]] = defaultdict(list)
    for job_uid, left in by_job.items():
        for pod in left if job_uid and job_uid not in known else ():
            if (
                pod.experiment_uid == uid
                and is_possible(pod.step, pod.attempt)
                and (pod.step, pod.attempt) not in taken
            ):
                orphans[pod.step, pod.attempt].append(pod)
    return found + [Attempt(step, number, None, tuple(left)) for (step, number), left in orphans.items()]


def _named(pods: Sequence[PodView]) -> str:
    names = [f"pod {pod.name} on node {pod.node}" if pod.node else f"pod {pod.name}" for pod in pods[:3]]
    return ", ".join(names) + (f" and {len(pods) - 3} more" if len(pods) > 3 else "")
