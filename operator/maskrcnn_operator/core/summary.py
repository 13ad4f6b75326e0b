"""What the status says of the experiment as a whole, from its steps."""

from __future__ import annotations

from datetime import UTC, datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import ExperimentStatus, Progress, StepState, StepStatus
from maskrcnn_operator.api.task_kinds import Model, Shown
from maskrcnn_operator.api.text import clean
from maskrcnn_operator.core.conditions import Phase, Verdict, conditions
from maskrcnn_operator.core.deadlines import active_time
from maskrcnn_operator.core.graph import StepGraph

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

MESSAGE_LENGTH = 8192
"""Characters of a step's message: of 32 steps together they fit into an object many times."""

_CURRENT_STATES = frozenset({StepState.STARTING, StepState.RUNNING, StepState.STOPPING})


def is_active(step: StepStatus) -> bool:
    """Return whether a step's time counts as active: from when its attempt runs until its pods have ended.

    What keeps pods from running is bounded by preRunningDeadlineSeconds.
    """
    return step.state is StepState.RUNNING or (step.state is StepState.STOPPING and step.run_start_time is not None)


def current_step(experiment: MaskRCNNExperiment, steps: tuple[StepStatus, ...]) -> str | None:
    """Return the first step that starts or runs, in the order of the spec; one that trains goes before all others."""
    running = [step.name for step in steps if step.state in _CURRENT_STATES]
    training = [name for name in running if experiment.step(name).kind.shown is Shown.MODEL_PATH]
    return next(iter(training or running), None)


def assemble(
    experiment: MaskRCNNExperiment,
    graph: StepGraph,
    steps: tuple[StepStatus, ...],
    verdict: Verdict,
    now: datetime,
) -> ExperimentStatus:
    """The status of an experiment whose steps stand as ``steps`` says, in the order of the spec."""
    old = experiment.status
    steps = tuple(with_active_time(_with_a_bounded_message(step), experiment, now) for step in steps)
    active = any(is_active(step) for step in steps)
    finished = verdict.phase in (Phase.DONE, Phase.FAILED)
    current = current_step(experiment, steps)
    starts = [step.start_time for step in steps if step.start_time]
    evaluated = _newest(experiment, steps, Shown.METRICS, graph)
    trained = _newest(experiment, steps, Shown.MODEL_PATH)
    exported = _newest(experiment, steps, Shown.EXPORT_PATH)
    return ExperimentStatus(
        observed_generation=experiment.metadata.generation,
        conditions=conditions(verdict, old.conditions, experiment.metadata.generation, now),
        steps=steps,
        current_step=current,
        restarts=sum(step.restarts for step in steps),
        active_seconds=old.active_seconds if active else int(active_time(old, now).total_seconds()),
        active_since=(old.active_since or now) if active else None,
        start_time=old.start_time or min(starts, default=None),
        completion_time=(old.completion_time or now) if finished else None,
        progress=_progress(old, steps, current),
        metrics=evaluated.metrics if evaluated else (),
        model_path=trained.model_path if trained else None,
        export_path=exported.model_path if exported else None,
    )


def with_active_time(step: StepStatus, experiment: MaskRCNNExperiment, now: datetime) -> StepStatus:
    """Return the step with its active time up to now where it has a deadline on it, without one where it hasn't."""
    if experiment.step(step.name).active_deadline_seconds is None:
        untimed = step.active_seconds is None and step.active_since is None
        return step if untimed else step.model_copy(update={"active_seconds": None, "active_since": None})
    if is_active(step) == (step.active_since is not None):
        return step
    if step.active_since is None:
        return step.model_copy(update={"active_since": now})
    seconds = int(active_time(step, now).total_seconds())
    return step.model_copy(update={"active_seconds": seconds, "active_since": None})


def _with_a_bounded_message(step: StepStatus) -> StepStatus:
    """Return the step, its message cleaned and bounded: pods, policies and webhooks have a say in it."""
    message = clean(step.message, MESSAGE_LENGTH)
    return step if message == step.message else step.model_copy(update={"message": message})


def _newest(
    experiment: MaskRCNNExperiment, steps: tuple[StepStatus, ...], shown: Shown, graph: StepGraph | None = None
) -> StepStatus | None:
    """Return the last finished step whose result is shown there; with ``graph``, none that used an exported model."""
    finished = []
    for step in steps:
        if step.state is not StepState.SUCCEEDED or experiment.step(step.name).kind.shown is not shown:
            continue
        maker = graph.nodes[step.name].model if graph and step.name in graph.nodes else None
        if maker is None or experiment.step(maker).kind.makes_model is not Model.EXPORTED:
            finished.append(step)
    # finished in the same second: the later one in the spec
    return max(reversed(finished), key=lambda step: step.completion_time or _LONG_AGO, default=None)


def _progress(old: ExperimentStatus, steps: tuple[StepStatus, ...], current: str | None) -> Progress | None:
    """The progress as long as it speaks of the attempt that runs."""
    if old.progress is None or old.progress.step != current:
        return None
    before = old.step(current)
    after = next(step for step in steps if step.name == current)
    return old.progress if before is not None and before.attempt == after.attempt else None
