"""Which live runs are to be stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, StepState, StepStatus
from maskrcnn_operator.core.outcome import stopping
from maskrcnn_operator.core.runs import Run, RunKey, RunState


def stop_every_live_step(steps: Mapping[str, StepStatus], reason: Reason, message: str) -> dict[str, StepStatus]:
    """The steps after everything that runs was told to stop."""
    return {
        name: stopping(step, reason, message) if step.state in LIVE_STATES else step for name, step in steps.items()
    }


def runs_to_stop(runs: Iterable[Run], steps: Mapping[str, StepStatus]) -> tuple[RunKey, ...]:
    """Runs of steps that left the spec, of attempts that are not the newest, and of steps that are being stopped.

    One that is stopping already is not asked again; one that was asked and has not heard is.
    """
    return tuple(
        run.key
        for run in runs
        if run.live and run.state is not RunState.STOPPING and not _wanted(run, steps.get(run.step))
    )


def _wanted(run: Run, step: StepStatus | None) -> bool:
    return (
        step is not None
        and step.state in LIVE_STATES
        and step.state is not StepState.STOPPING
        and run.attempt == step.attempt
    )


def what_is_still_alive(runs: Sequence[Run], lingering: Mapping[str, str]) -> tuple[str, ...]:
    """Return in words what has not ended: pods that linger, and live runs, those of removed steps included."""
    return (*lingering.values(), *(f"attempt {run.attempt} of step {run.step}" for run in runs if run.live))
