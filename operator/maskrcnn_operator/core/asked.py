"""Steps that stop because they were asked to, and steps whose run was only seen stopping."""

from __future__ import annotations

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus

_SEEN = (Reason.STOPPING, Reason.FAILING, Reason.JOB_RELABELED)
"""Reasons of a step whose Job fails, or was deleted by another user, without a request to stop."""


def was_asked_to_stop(step: StepStatus) -> bool:
    """Return whether the end of the step's run is the answer to a request: a suspension, a deadline, an edit."""
    return step.state is StepState.STOPPING and step.reason not in _SEEN
