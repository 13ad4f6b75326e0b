"""Jobs and their pods read back as runs."""

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
from maskrcnn_operator.jobs.causes import TOLD_BY_EVENTS, Subject, WaitCause, due_at, subjects
from maskrcnn_operator.jobs.views import JobView, PodView

MOST_AHEAD = 100
"""Attempts by which Jobs may be ahead of the status: one after a crash between two writes, some more while the API
server refuses the status. A number beyond is forged; adopted, it would be the newest attempt for ever."""
LOOK_AGAIN = timedelta(seconds=30)
"""How often a relabeled Job is looked at."""
_NO_CAUSES: Mapping[str, WaitCause] = {}
_JOB_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class RelabeledJob:
    """A Job of ours that runs, and that labels or owner no longer show to be ours: only its name does.

    Attributes:
        step, attempt: of which the status says that it is the Job.
        why: what was changed and what would be right, in a sentence.
    """

    job: JobView
    step: str
    attempt: int
    why: str


@dataclass(frozen=True)
class Observation:
    """What there is of an experiment.

    Attributes:
        runs: its attempts.
        lingering: by step, which pods with its labels, of whatever uid, are not terminal and belong to no live run of
            this experiment; lost ones left out.
        to_read: whose events are to be read now, since they may say why an attempt does not run.
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
    """The runs of an experiment.

    A pod that was deleted after it had ended is best kept among ``pods`` as long as its Job exists: the Job controller
    deletes the other pods of a worker group that fails, and with them what index 0 has said.

    Args:
        jobs, pods: everything of its namespace that carries its name as a label, whatever its uid.
        now: aware.
        relabeled: Jobs that are what the status says, whatever their labels say; no watch shows what becomes of them.
        causes: by uid, what the events of Jobs and pods have said.
    """
    uids = {held.job.uid for held in relabeled}
    theirs = [pod for pod in pods if pod.job_uid in uids]
    jobs, pods = [job for job in jobs if job.uid not in uids], [pod for pod in pods if pod.job_uid not in uids]
    runs: list[Run] = []
    to_read: list[Subject] = []
    claimed: set[str] = set()
    wake: list[datetime] = [now + LOOK_AGAIN] if relabeled else []
    for attempt in _attempts(experiment, jobs, pods, causes):
        run, at = run_of(attempt, now)
        runs.append(run)
        if attempt.job is not None and run.state in (RunState.STARTING, RunState.QUEUED):
            about = subjects(attempt.job, attempt.pods)
            if any(subject.uid not in causes for subject in about):
                runs[-1] = _as_told_before(run, experiment)
            due = [(due_at(subject, causes.get(subject.uid)), subject) for subject in about]
            to_read += [subject for moment, subject in due if moment <= now]
            wake += [moment for moment, _ in due if moment > now]
        wake += [at] if at else []
        # an ended run may have pods in which a sidecar still runs
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
    told = {step: _named(sorted(found, key=lambda pod: pod.name)) for step, found in sorted(lingering.items())}
    return Observation(tuple(runs), told, tuple(to_read), min(wake, default=None))


def _as_told_before(run: Run, experiment: MaskRCNNExperiment) -> Run:
    """Return a run, some of whose events this replica has not read yet, with what the status has from an earlier one.

    Else each restart of the operator would take the reason back, and give it again with another event.
    """
    step = experiment.status.step(run.step)
    if step is None or step.attempt != run.attempt or step.state is not StepState.STARTING:
        return run
    if run.waiting_reason or run.message or step.reason not in TOLD_BY_EVENTS:
        return run
    return replace(run, waiting_reason=step.reason, message=step.message)


def _held(relabeled: RelabeledJob, pods: Sequence[PodView], now: datetime) -> Run:
    """Return the run of a relabeled Job: live as long as the Job runs, since it may create pods again."""
    attempt = Attempt(relabeled.step, relabeled.attempt, relabeled.job, tuple(pods))
    run, _ = run_of(attempt, now)
    return replace(run, state=run.state if run.live else RunState.STOPPING, held=relabeled.why, lost="")


def missing_jobs(experiment: MaskRCNNExperiment, jobs: Sequence[JobView]) -> tuple[str, ...]:
    """Return the names of Jobs that the status counts on and ``jobs`` lacks; only a live look shows that they are gone.

    A Job that no longer says which attempt it is counts as lacking, too. A name that no Job can have is none of ours:
    another writer has put it into the status.
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
    """Return whether labels and owner of a Job say that it is the newest attempt of a step."""
    names = (job.namespace, job.experiment, job.experiment_uid, job.step, job.attempt)
    metadata = experiment.metadata
    return names == (metadata.namespace, metadata.name, metadata.uid, step.name, step.attempt)


def _attempts(
    experiment: MaskRCNNExperiment, jobs: Sequence[JobView], pods: Sequence[PodView], causes: Mapping[str, WaitCause]
) -> list[Attempt]:
    """Our Jobs with their pods, then pods that say that they are ours and whose Job is gone."""
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
