"""Edits of the workspace: effects of another place, and of another owner that is replaced."""

from __future__ import annotations

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState
from maskrcnn_operator.core.edits import without_result
from maskrcnn_operator.core.plan import ReconcileContext, Steps
from maskrcnn_operator.core.retries import resumed
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.core.workspace_paths import workspace_place

_OF_ANOTHER_OWNER = (Reason.ANOTHERS_OWNER, Reason.SUPERSEDED)
"""Reasons of steps whose results another owner, or another experiment of this owner, has."""


def is_about_another_workspace(context: ReconcileContext) -> bool:
    """Return whether the status is about another workspace than that of the spec.

    A status of an older release doesn't record its workspace; it is about that of the spec.
    """
    recorded = context.experiment.status.workspace
    return recorded is not None and recorded != workspace_place(context.experiment.spec.workspace)


def drop_results_of_another_workspace(context: ReconcileContext, steps: Steps) -> Steps:
    """Drop the results of all steps if the workspace has changed; live runs are stopped first."""
    if not is_about_another_workspace(context):
        return steps
    return {name: without_result(step, "the workspace was changed") for name, step in steps.items()}


def workspace_to_record(context: ReconcileContext, steps: Steps) -> str | None:
    """Return the workspace that a status is about: the one before until the attempts in it have ended.

    Args:
        context: of the reconciliation.
        steps: before any is started.
    """
    if is_about_another_workspace(context) and any(step.state in LIVE_STATES for step in steps.values()):
        return context.experiment.status.workspace
    return workspace_place(context.experiment.spec.workspace)


def workspace_of_an_older_status(context: ReconcileContext) -> str | None:
    """Return the workspace that the status of an older release is about; None if the status records one."""
    known = context.experiment.status.workspace is not None
    return None if known else workspace_place(context.experiment.spec.workspace)


def try_refused_owners_again_after_an_edit(context: ReconcileContext, steps: Steps) -> Steps:
    """Give the steps a new try that were refused because of another owner, once takeOverFrom has changed.

    A failed step gets a new budget of retries. A step that waits to be retried is tried at once.
    """
    if context.experiment.spec.workspace.object_storage is None:
        return steps
    found = dict(steps)
    for name, step in steps.items():
        run = next((run for run in context.runs if (run.step, run.attempt) == (name, step.attempt)), None)
        if not _takes_over_from_another(context, run):
            continue
        if step.state is StepState.FAILED and step.reason in _OF_ANOTHER_OWNER:
            found[name] = resumed(step)
        elif step.next_attempt_time is not None and run is not None and _was_refused(run):
            found[name] = step.model_copy(update={"next_attempt_time": None})
    return found


def _takes_over_from_another(context: ReconcileContext, run: Run | None) -> bool:
    """Return whether takeOverFrom has changed since a run was started; if its Job is gone, any edit counts."""
    if run is None or run.take_over_from is None:
        return context.is_edited
    return run.take_over_from != (context.experiment.spec.workspace.take_over_from or "")


def _was_refused(run: Run) -> bool:
    return run.result is not None and run.result.reason in _OF_ANOTHER_OWNER
