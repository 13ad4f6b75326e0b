"""A failure that was seen while other pods of the attempt ran: it counts, whatever is left of them afterwards.

Pods are removed one by one once their Job is deleted. Those that are left at the next look may all have ended with
143, or none may be left.
"""

from __future__ import annotations

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.runs import Run
from maskrcnn_trainer.errors import EXIT_STOPPED


def seen_to_fail(step: StepStatus, run: Run) -> StepStatus:
    """The step with what failed; the rest of its pods are to be stopped."""
    return step.model_copy(
        update={
            "state": StepState.STOPPING,
            "reason": Reason.FAILING.value,
            "message": run.failing,
            "exit_code": run.exit_code,
        }
    )


def was_seen_to_fail(step: StepStatus) -> bool:
    """Return whether the step stops because one of its pods has failed."""
    return step.state is StepState.STOPPING and step.reason == Reason.FAILING


def hides_the_failure(run: Run, code: int | None) -> bool:
    """Return whether a run that was seen to fail, and has ended with ``code``, no longer shows why."""
    return run.disrupted or code in (None, EXIT_STOPPED)
