"""Deadlines of the experiment: on the time that steps run, and on the time until a step runs at all."""

from __future__ import annotations

from datetime import datetime, timedelta

from maskrcnn_operator.api.experiment import ExperimentBody
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.core.runs import Run, RunState


def active_time(status: ExperimentStatus, now: datetime) -> timedelta:
    """How long steps have been running, queue and suspension excluded."""
    done = timedelta(seconds=status.active_seconds)
    return done + (max(timedelta(), now - status.active_since) if status.active_since else timedelta())


def active_deadline(spec: ExperimentBody, status: ExperimentStatus, now: datetime) -> tuple[bool, datetime | None]:
    """Whether activeDeadlineSeconds is over, and when it will be if steps go on running."""
    if spec.active_deadline_seconds is None:
        return False, None
    left = timedelta(seconds=spec.active_deadline_seconds) - active_time(status, now)
    if left <= timedelta():
        return True, None
    return False, now + left if status.active_since else None


def pre_running_deadline(spec: ExperimentBody, run: Run, now: datetime) -> tuple[bool, datetime | None]:
    """Whether a run took too long to get ready, and when it will have."""
    if spec.pre_running_deadline_seconds is None or run.state is not RunState.STARTING or run.started is None:
        return False, None
    over = run.started + timedelta(seconds=spec.pre_running_deadline_seconds)
    return over <= now, over if over > now else None
