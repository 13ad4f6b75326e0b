"""A run that the status knows and that is no more."""

from __future__ import annotations

from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.restart import uncounted


def made_again_after_vanishing(step: StepStatus, now: datetime, settings: Settings) -> StepStatus:
    """The step whose run nobody asked to stop: that it is absent says nothing of its result, so it is made again.

    A result that it has left is found by the next attempt, which then ends at once.
    """
    name = f"its Job {step.job_name}" if step.job_name else "its run"
    seen = step.message if step.state is StepState.STOPPING and step.reason == Reason.STOPPING else ""
    message = f"{name} is gone; before: {seen}" if seen else f"{name} is gone"
    return uncounted(step, Reason.RUN_LOST, message, now, settings)
