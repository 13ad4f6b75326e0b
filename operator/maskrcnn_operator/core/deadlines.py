"""Deadlines: on the time that all steps run, on the time that one runs, and on the time until it runs at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from maskrcnn_operator.api.experiment import ExperimentBody, Step
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ExperimentStatus, StepStatus
from maskrcnn_operator.core.outcome import stopping
from maskrcnn_operator.core.runs import Run, RunState


def active_time(status: ExperimentStatus | StepStatus, now: datetime) -> timedelta:
    """How long steps, or one step in all of its attempts, have been running; the start of pods isn't included."""
    done = timedelta(seconds=status.active_seconds or 0)
    return done + (max(timedelta(), now - status.active_since) if status.active_since else timedelta())


def active_deadline(
    spec: ExperimentBody | Step, status: ExperimentStatus | StepStatus, now: datetime
) -> tuple[bool, datetime | None]:
    """Whether activeDeadlineSeconds of an experiment or a step is over, and when it will be if it goes on running."""
    if spec.active_deadline_seconds is None:
        return False, None
    left = timedelta(seconds=spec.active_deadline_seconds) - active_time(status, now)
    if left <= timedelta():
        return True, None
    return False, now + left if status.active_since else None


def stop_what_runs_too_long(
    steps: Mapping[str, StepStatus], spec: ExperimentBody, now: datetime
) -> tuple[dict[str, StepStatus], frozenset[str], datetime | None]:
    """The steps, those over their own activeDeadlineSeconds stopping, the names of these, and when the next will be."""
    found = dict(steps)
    over = set()
    later: list[datetime] = []
    for wanted in spec.steps:
        step = steps[wanted.name]
        late, at = active_deadline(wanted, step, now)
        later += [at] if at is not None else []
        if late:
            over.add(step.name)
            if step.state in LIVE_STATES:
                found[step.name] = stopping(step, Reason.DEADLINE_EXCEEDED, over_its_deadline(wanted))
    return found, frozenset(over), min(later, default=None)


def over_its_deadline(step: Step) -> str:
    """Return the message of a step that has run for its own activeDeadlineSeconds."""
    return f"activeDeadlineSeconds ({step.active_deadline_seconds}) of step {step.name} is over"


def pre_running_deadline(spec: ExperimentBody, run: Run, now: datetime) -> tuple[bool, datetime | None]:
    """Whether a run that has never run took too long to get ready, and when it will have."""
    if spec.pre_running_deadline_seconds is None or run.state is not RunState.STARTING or run.started is None:
        return False, None
    over = run.started + timedelta(seconds=spec.pre_running_deadline_seconds)
    return over <= now, over if over > now else None


def stop_what_is_not_ready_in_time(
    steps: Mapping[str, StepStatus], runs: Sequence[Run], spec: ExperimentBody, now: datetime
) -> tuple[dict[str, StepStatus], datetime | None]:
    """The steps, those too late by preRunningDeadlineSeconds stopping, and when the next one will be."""
    found = dict(steps)
    later: list[datetime] = []
    for run in runs:
        step = steps.get(run.step)
        if step is None or run.attempt != step.attempt or step.state not in LIVE_STATES:
            continue
        if step.run_start_time is not None:
            # preempted or replaced after it had run: what cannot start now could start before
            continue
        late, at = pre_running_deadline(spec, run, now)
        later += [at] if at is not None else []
        if late:
            limit = f"not ready within preRunningDeadlineSeconds ({spec.pre_running_deadline_seconds})"
            why = ": ".join(part for part in (run.waiting_reason, run.message) if part)
            said = f"{limit}: {why}" if why else limit
            found[run.step] = stopping(step, Reason.PRE_RUNNING_DEADLINE_EXCEEDED, said)
    return found, min(later, default=None)
