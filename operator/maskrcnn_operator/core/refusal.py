"""Attempts that could not be started: the name is taken, or the API server does not accept the Job."""

from __future__ import annotations

from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepStatus
from maskrcnn_operator.core.plan import Refusal, Settings

REFUSALS = frozenset({Reason.NAME_TAKEN.value, Reason.JOB_REFUSED.value})


def waiting_after_a_refusal(step: StepStatus, refusal: Refusal, now: datetime, settings: Settings) -> StepStatus:
    """The step, which keeps the number of its next attempt and tries it again after the longest back-off."""
    return step.model_copy(
        update={
            "reason": refusal.reason.value,
            "message": refusal.message,
            "next_attempt_time": now + settings.back_off_limit,
        }
    )


def tried_at_once_after_an_edit(step: StepStatus, *, edited: bool) -> StepStatus:
    """The step without its wait, where it was refused and the spec has changed since."""
    if not edited or step.reason not in REFUSALS:
        return step
    return step.model_copy(update={"next_attempt_time": None})
