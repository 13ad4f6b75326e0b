"""The newest checkpoint of a step, from whoever knows of it: its run, its last word, its reports."""

from __future__ import annotations

from maskrcnn_operator.api.status import LIVE_STATES, Progress, StepStatus
from maskrcnn_operator.core.runs import Run


def with_newest_checkpoint(step: StepStatus, run: Run | None, reported: Progress | None) -> StepStatus:
    """The step with the largest checkpoint that is known; a newer one gives restarts and disruptions a new budget.

    Reports are copied here because they are removed when the step ends.
    """
    seen = [
        run.checkpoint_step if run else None,
        run.result.checkpoint_step if run and run.result else None,
        reported.checkpoint_step if reported and reported.step == step.name and step.state in LIVE_STATES else None,
    ]
    newest = max((value for value in seen if value is not None), default=None)
    if newest is None or newest <= (step.checkpoint_step or 0):
        return step
    return step.model_copy(update={"checkpoint_step": newest, "restarts_since_checkpoint": 0, "disruptions": 0})


def progress_is_to_be_dropped(before: Progress | None, after: Progress | None) -> bool:
    """Whether the recorded progress speaks of a step that no longer runs."""
    return before is not None and after is None
