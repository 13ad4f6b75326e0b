"""When an attempt that did not succeed is made again: what counts, how long to wait, when it is enough."""

from __future__ import annotations

from datetime import datetime, timedelta

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.plan import Settings
from maskrcnn_trainer.errors import (
    EXIT_INVALID,
    EXIT_KILLED,
    EXIT_STOPPED,
    EXIT_TRY_AGAIN,
    EXIT_WORKSPACE_FULL,
)

MAX_DISRUPTIONS = 20
"""Uncounted attempts without a newer checkpoint after which a step fails."""
RESTARTS_IN_ALL = 20
"""Times maxRestarts after which a step fails, however many checkpoints it has written: it would never end."""


def back_off(failures: int, settings: Settings) -> timedelta:
    """The wait before another attempt after ``failures`` (at least 1) that did not succeed: base x 2^(n-1), bounded."""
    factor: int = 2 ** min(failures - 1, 30)
    return min(settings.back_off_limit, settings.back_off_base * factor)


def exit_reason(code: int | None, said: str) -> str:
    """The reason of a failed attempt: the task's own word where it gave one, else what the exit code means."""
    if code == EXIT_KILLED:
        return Reason.OUT_OF_MEMORY
    if code == EXIT_WORKSPACE_FULL:
        return Reason.WORKSPACE_FULL
    meanings = {EXIT_INVALID: Reason.INVALID_INPUT, EXIT_TRY_AGAIN: Reason.TRY_AGAIN, EXIT_STOPPED: Reason.STOPPED}
    return said or (meanings.get(code, Reason.ERROR) if code is not None else Reason.ERROR)


def after_failure(
    step: StepStatus,
    *,
    code: int | None,
    said: str,
    message: str,
    disrupted: bool,
    max_restarts: int,
    ended: datetime,
    settings: Settings,
) -> StepStatus:
    """The step after an attempt that ended without a result and that nobody asked to stop.

    64 is permanent. A disruption, or a stop (143) that we did not ask for, does not count against ``max_restarts``;
    everything else does. A newer checkpoint gives a new budget, as far as all restarts together allow it.
    """
    reason = exit_reason(code, said)
    if code == EXIT_INVALID:
        return failed(step, reason, message, ended)
    if disrupted or code == EXIT_STOPPED:
        return uncounted(step, Reason.DISRUPTED, message, ended, settings)
    spent = _spent(step, max_restarts)
    if spent:
        return failed(step, reason, f"{message} (attempt {step.attempt} failed and {spent})", ended)
    counts = {"restarts": step.restarts + 1, "restarts_since_checkpoint": step.restarts_since_checkpoint + 1}
    return _again(step.model_copy(update=counts), Reason.BACK_OFF, f"{reason}: {message}", ended, settings)


def _spent(step: StepStatus, max_restarts: int) -> str:
    """Return which budget of restarts is used up, in words; empty where another attempt may start."""
    if step.restarts_since_checkpoint >= max_restarts:
        # a status of a release without restartsSinceCheckpoint has restarts that no checkpoint explains
        renewed = step.restarts > step.restarts_since_checkpoint and step.checkpoint_step is not None
        since = f" since checkpoint {step.checkpoint_step}" if renewed else ""
        return f"maxRestarts ({max_restarts}) is used up{since}"
    if step.restarts >= RESTARTS_IN_ALL * max_restarts:
        return f"it has been restarted {step.restarts} times, {RESTARTS_IN_ALL} times maxRestarts ({max_restarts})"
    return ""


def uncounted(step: StepStatus, reason: Reason, message: str, ended: datetime, settings: Settings) -> StepStatus:
    """The step after an attempt that does not count, which is bounded all the same."""
    disruptions = step.disruptions + 1
    if disruptions >= MAX_DISRUPTIONS:
        text = f"{disruptions} attempts were disrupted without a newer checkpoint; the last: {message}"
        return failed(step, Reason.DISRUPTED_TOO_OFTEN, text, ended)
    return _again(step.model_copy(update={"disruptions": disruptions}), reason, message, ended, settings)


def failed(step: StepStatus, reason: str, message: str, ended: datetime) -> StepStatus:
    """The step as failed for good."""
    return step.model_copy(
        update={
            "state": StepState.FAILED,
            "reason": str(reason),
            "message": message,
            "completion_time": ended,
            "next_attempt_time": None,
        }
    )


def resumed(step: StepStatus) -> StepStatus:
    """Return the step after a resume: one that starts next without its image, one that failed with a new budget."""
    if step.state is StepState.PENDING:
        return step.model_copy(update={"image": None})
    if step.state is not StepState.FAILED:
        return step
    return step.model_copy(
        update={
            "state": StepState.PENDING,
            "reason": Reason.RESUMED.value,
            "message": "",
            "image": None,
            "restarts": 0,
            "restarts_since_checkpoint": 0,
            "disruptions": 0,
            "completion_time": None,
            "next_attempt_time": None,
        }
    )


def resting(step: StepStatus) -> StepStatus:
    """A pending step while the experiment is suspended."""
    return step.model_copy(update={"reason": Reason.SUSPENDED.value, "message": "", "next_attempt_time": None})


def _again(step: StepStatus, reason: Reason, message: str, ended: datetime, settings: Settings) -> StepStatus:
    return step.model_copy(
        update={
            "state": StepState.PENDING,
            "reason": reason.value,
            "message": message,
            "next_attempt_time": ended + back_off(step.restarts_since_checkpoint + step.disruptions, settings),
        }
    )
