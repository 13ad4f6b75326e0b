"""A pod that does not end because its node does not answer."""

from __future__ import annotations

from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.asked import was_asked_to_stop
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.restart import uncounted
from maskrcnn_operator.core.runs import Run


def stopping_without_its_lost_node(step: StepStatus, run: Run) -> StepStatus:
    """The step whose live run has lost a node: the rest of its pods are stopped, as the gang is no longer whole."""
    if not run.lost or was_asked_to_stop(step):
        return step
    return step.model_copy(update={"state": StepState.STOPPING, "reason": Reason.NODE_LOST.value, "message": run.lost})


def tried_again_elsewhere(step: StepStatus, message: str, ended: datetime, settings: Settings) -> StepStatus:
    """The step once every pod but the lost ones has ended: not counted. ``run.json`` keeps lost pods from writing."""
    return uncounted(step, Reason.NODE_LOST, message, ended, settings)
