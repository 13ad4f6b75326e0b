"""Delay of publishing: a running step whose newest checkpoint has waited too long for object storage.

The training continues, but after the loss of a node its work since the last published checkpoint is repeated. A report
states since when a checkpoint waits, so the delay shows without another report, too.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import StepState, StepStatus, format_time
from maskrcnn_operator.api.task_kinds import TASK_KINDS
from maskrcnn_operator.core.plan import ReconcileContext, Steps

PUBLISH_PATIENCE = timedelta(minutes=10)
"""Time for which a checkpoint may wait before its step shows it; an upload of a large model takes minutes."""


def show_delayed_publishes(context: ReconcileContext, steps: Steps) -> Steps:
    """Give running steps the reason PublishDelayed while a checkpoint has waited for PUBLISH_PATIENCE or longer."""
    return {name: _shown(context, step) for name, step in steps.items()}


def next_delayed_publish(context: ReconcileContext, steps: Steps) -> datetime | None:
    """Return when the wait of a running step's checkpoint becomes a delay; None if none waits, or it already is."""
    later = [since + PUBLISH_PATIENCE for step in steps.values() if (since := _waits_since(context, step))]
    return min((at for at in later if at > context.now), default=None)


def _shown(context: ReconcileContext, step: StepStatus) -> StepStatus:
    status = context.experiment.status
    since, before = _waits_since(context, step), status.step(step.name)
    if before is not None and status.progress is None and _just_runs(context, step) and _was_delayed(before, step):
        # the progress is removed when another step becomes the current one; the next report decides
        return step.model_copy(update={"reason": before.reason, "message": before.message})
    if since is None or context.now < since + PUBLISH_PATIENCE:
        return step
    resumed = "start from the beginning" if step.checkpoint_step is None else f"resume from step {step.checkpoint_step}"
    message = (
        f"checkpoints have waited since {format_time(since)} to be published to object storage; another attempt would "
        f"now {resumed}"
    )
    return step.model_copy(update={"reason": Reason.PUBLISH_DELAYED.value, "message": message})


def _was_delayed(before: StepStatus, step: StepStatus) -> bool:
    return before.attempt == step.attempt and before.reason == Reason.PUBLISH_DELAYED


def _waits_since(context: ReconcileContext, step: StepStatus) -> datetime | None:
    """Return since when a checkpoint of a step's running attempt waits; None if none does, or it doesn't just run."""
    since = context.experiment.status.unpublished_since(step)
    if since is None or not _just_runs(context, step):
        return None
    # a replica whose clock is ahead may have written it
    return min(since, context.now)


def _just_runs(context: ReconcileContext, step: StepStatus) -> bool:
    running = TASK_KINDS[context.experiment.step(step.name).task_name].running
    return step.state is StepState.RUNNING and step.reason in (running, Reason.PUBLISH_DELAYED)
