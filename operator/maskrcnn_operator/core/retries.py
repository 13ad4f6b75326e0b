"""Retries: whether a failed attempt counts, when the next one starts, and when the step fails."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.plan import ReconcileContext, Settings
from maskrcnn_trainer.errors import (
    EXIT_INVALID,
    EXIT_KILLED,
    EXIT_STOPPED,
    EXIT_TRY_AGAIN,
    EXIT_WORKSPACE_FULL,
)

MAX_DISRUPTIONS = 20
"""Number of uncounted attempts without a newer checkpoint after which a step fails."""
RESTARTS_IN_ALL = 20
"""Factor of maxRestarts that limits all restarts of a step: with new checkpoints, it might otherwise never end."""


@dataclass(frozen=True)
class AttemptFailure:
    """Failure of an attempt that has no result.

    Attributes:
        exit_code: of the process whose error is reported; None if it has none.
        message: what went wrong, in one sentence.
        task_reason: reason that the task itself reported; empty if none.
        disrupted: whether something outside ended the attempt.
    """

    exit_code: int | None
    message: str
    task_reason: str = ""
    disrupted: bool = False


def back_off(failures: int, settings: Settings) -> timedelta:
    """Return the wait before another attempt after ``failures`` (at least 1): base x 2^(failures-1), limited."""
    factor: int = 2 ** min(failures - 1, 30)
    return min(settings.back_off_limit, settings.back_off_base * factor)


def exit_reason(exit_code: int | None, task_reason: str) -> str:
    """Return the reason of a failed attempt: the one that the task reported, else the meaning of the exit code."""
    if exit_code == EXIT_KILLED:
        return Reason.OUT_OF_MEMORY
    if exit_code == EXIT_WORKSPACE_FULL:
        return Reason.CACHE_FULL if task_reason == Reason.CACHE_FULL else Reason.WORKSPACE_FULL
    meanings = {EXIT_INVALID: Reason.INVALID_INPUT, EXIT_TRY_AGAIN: Reason.TRY_AGAIN, EXIT_STOPPED: Reason.STOPPED}
    return task_reason or (meanings.get(exit_code, Reason.ERROR) if exit_code is not None else Reason.ERROR)


def after_failure(step: StepStatus, failure: AttemptFailure, ended: datetime, context: ReconcileContext) -> StepStatus:
    """Return the step after an attempt that ended without a result and without a request to stop.

    Exit code 64 is permanent, and so is a deletion of the results, which another attempt would undo. A disruption, or a
    stop (143) without a request, does not count against ``maxRestarts``; all other failures do. A newer checkpoint
    gives a new budget, up to the limit on all restarts.
    """
    reason, message = exit_reason(failure.exit_code, failure.task_reason), failure.message
    if failure.exit_code == EXIT_INVALID or _is_deletion(failure):
        return failed(step, reason, message, ended)
    if failure.disrupted or failure.exit_code == EXIT_STOPPED:
        return uncounted(step, Reason.DISRUPTED, message, ended, context.settings)
    spent = _spent(step, context.experiment.spec.max_restarts)
    if spent:
        return failed(step, reason, f"{message} (attempt {step.attempt} failed and {spent})", ended)
    counts = {"restarts": step.restarts + 1, "restarts_since_checkpoint": step.restarts_since_checkpoint + 1}
    return _again(step.model_copy(update=counts), Reason.BACK_OFF, f"{reason}: {message}", ended, context.settings)


def _is_deletion(failure: AttemptFailure) -> bool:
    """Return whether the attempt ended because a user deleted its results."""
    deletions = (Reason.RESULTS_DELETED, Reason.POINTER_DELETED)
    return failure.exit_code == EXIT_TRY_AGAIN and failure.task_reason in deletions


def _spent(step: StepStatus, max_restarts: int) -> str:
    """Return a phrase for the budget of restarts that is used up; empty if another attempt may start."""
    if step.restarts_since_checkpoint >= max_restarts:
        # a status from a release without restartsSinceCheckpoint may have restarts from before any checkpoint
        renewed = step.restarts > step.restarts_since_checkpoint and step.checkpoint_step is not None
        since = f" since checkpoint {step.checkpoint_step}" if renewed else ""
        return f"maxRestarts ({max_restarts}) is used up{since}"
    if step.restarts >= RESTARTS_IN_ALL * max_restarts:
        return f"it has been restarted {step.restarts} times, {RESTARTS_IN_ALL} times maxRestarts ({max_restarts})"
    return ""


def uncounted(step: StepStatus, reason: Reason, message: str, ended: datetime, settings: Settings) -> StepStatus:
    """Return the step after an attempt that does not count against maxRestarts; MAX_DISRUPTIONS limits these."""
    disruptions = step.disruptions + 1
    if disruptions >= MAX_DISRUPTIONS:
        text = f"{disruptions} attempts were disrupted without a newer checkpoint; last message: {message}"
        return failed(step, Reason.DISRUPTED_TOO_OFTEN, text, ended)
    return _again(step.model_copy(update={"disruptions": disruptions}), reason, message, ended, settings)


def _again(step: StepStatus, reason: Reason, message: str, ended: datetime, settings: Settings) -> StepStatus:
    return step.model_copy(
        update={
            "state": StepState.PENDING,
            "reason": reason.value,
            "message": message,
            "next_attempt_time": ended + back_off(step.restarts_since_checkpoint + step.disruptions, settings),
        }
    )


def failed(step: StepStatus, reason: str, message: str, ended: datetime) -> StepStatus:
    """Return the step as finally failed."""
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
    """Return the step after a resume: a pending step loses its recorded image, a failed one gets a new budget."""
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
