"""Requests to stop: which steps and runs get one, and which steps have got one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.plan import ReconcileContext, Steps
from maskrcnn_operator.core.runs import Run, RunKey, RunState

_NOT_ASKED = (Reason.STOPPING, Reason.FAILING, Reason.JOB_RELABELED)
"""Reasons of a step whose Job fails, or was deleted by another user, without a request to stop."""


def was_asked_to_stop(step: StepStatus) -> bool:
    """Return whether the end of the step's run is the answer to a request: a suspension, a deadline, an edit."""
    return step.state is StepState.STOPPING and step.reason not in _NOT_ASKED


def ask_to_stop(step: StepStatus, reason: Reason, message: str) -> StepStatus:
    """Return the step while the run that it has is being stopped; a reason given before stays."""
    if was_asked_to_stop(step):
        return step
    return step.model_copy(update={"state": StepState.STOPPING, "reason": reason.value, "message": message})


def ask_every_live_step_to_stop(steps: Steps, reason: Reason, message: str) -> Steps:
    """Return the steps, those with a live run stopping."""
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

    A run that is stopping already is not asked again; a run that was asked and still runs is.
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
    """Return in words what has not ended: pods that linger, and live runs, those of removed steps included."""
    return (*lingering.values(), *(f"attempt {run.attempt} of step {run.step}" for run in runs if run.live))
