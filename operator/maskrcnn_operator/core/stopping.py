"""Requests to stop steps and their runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.plan import ReconcileContext, Steps
from maskrcnn_operator.core.runs import Run, RunKey, RunState

_NOT_REQUESTED = (Reason.STOPPING, Reason.FAILING, Reason.JOB_RELABELED)
"""Reasons of a step that stops without a request, because its Job fails or was deleted by another user."""


def was_asked_to_stop(step: StepStatus) -> bool:
    """Return whether the step stops on request: because of a suspension, a deadline, or an edit."""
    return step.state is StepState.STOPPING and step.reason not in _NOT_REQUESTED


def ask_to_stop(step: StepStatus, reason: Reason, message: str) -> StepStatus:
    """Return the step with a request to stop its run; an earlier request keeps its reason."""
    if was_asked_to_stop(step):
        return step
    return step.model_copy(update={"state": StepState.STOPPING, "reason": reason.value, "message": message})


def ask_every_live_step_to_stop(steps: Steps, reason: Reason, message: str) -> Steps:
    """Return the steps with a request to stop every live one."""
    return {
        name: ask_to_stop(step, reason, message) if step.state in LIVE_STATES else step for name, step in steps.items()
    }


def stop_while_suspended(context: ReconcileContext, steps: Steps) -> Steps:
    """Stop every live step of a suspended experiment."""
    if not context.experiment.spec.suspend:
        return steps
    return ask_every_live_step_to_stop(steps, Reason.SUSPENDED, "spec.suspend is true")


def runs_to_stop(runs: Iterable[Run], steps: Mapping[str, StepStatus]) -> tuple[RunKey, ...]:
    """Return the runs of steps that left the spec, of attempts that are not the newest, and of steps that stop.

    A run that is already stopping gets no second request; one that still runs after a request does.
    """
    return tuple(
        run.key
        for run in runs
        if run.live and run.state is not RunState.STOPPING and not _may_run(run, steps.get(run.step))
    )


def _may_run(run: Run, step: StepStatus | None) -> bool:
    return (
        step is not None
        and step.state in LIVE_STATES
        and step.state is not StepState.STOPPING
        and run.attempt == step.attempt
    )


def what_is_still_alive(runs: Sequence[Run], lingering: Mapping[str, str]) -> tuple[str, ...]:
    """Return descriptions of everything that has not ended: lingering pods and live runs, also of removed steps."""
    return (*lingering.values(), *(f"attempt {run.attempt} of step {run.step}" for run in runs if run.live))
