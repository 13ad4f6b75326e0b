"""Summary of the steps: the verdict on the experiment as a whole, its status, and the plan that writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ExperimentStatus, Progress, StepState, StepStatus
from maskrcnn_operator.api.task_kinds import Model, Shown
from maskrcnn_operator.api.text import clean
from maskrcnn_operator.core.conditions import ExperimentPhase, Verdict, conditions, ours
from maskrcnn_operator.core.events import events_between
from maskrcnn_operator.core.graph import StepGraph
from maskrcnn_operator.core.limits import active_deadline, active_time, deleted_at, is_active, with_active_time
from maskrcnn_operator.core.plan import Plan, ReconcileContext, StartRun, Steps
from maskrcnn_operator.core.runs import RunKey

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

MESSAGE_LENGTH = 8192
"""Characters of a step's message: of 32 steps together they fit into an object many times."""

_CURRENT_STATES = frozenset({StepState.STARTING, StepState.RUNNING, StepState.STOPPING})


def seen() -> Verdict:
    """Return the verdict on an experiment that is seen for the first time."""
    return Verdict(ExperimentPhase.SEEN, Reason.PENDING, "The experiment has been seen")


def invalid(problems: tuple[ManifestProblem, ...], *, suspended: bool = False) -> Verdict:
    """Return the verdict on an experiment that cannot be carried out as it is written."""
    lines = "\n".join(str(problem) for problem in problems)
    return Verdict(ExperimentPhase.INVALID, str(problems[0].reason), lines, suspended=suspended)


NAMED_WAITS = frozenset(
    {Reason.WAITING_FOR_PODS, Reason.WAITING_FOR_CLAIM, Reason.NAME_TAKEN, Reason.JOB_REFUSED, Reason.UPSTREAM_CHANGED}
)
"""What a step that could start waits for, outside of the experiment's own steps."""


def assess(steps: tuple[StepStatus, ...], *, suspend: bool, alive: tuple[str, ...] = ()) -> Verdict:
    """Return the verdict on an experiment with a valid spec.

    Args:
        alive: what has not ended, such as pods that linger; a suspension waits for it where no step is live.
    """
    live = [step for step in steps if step.state in LIVE_STATES]
    broken = [step for step in steps if step.state is StepState.FAILED]
    if all(step.state is StepState.SUCCEEDED for step in steps):
        return Verdict(
            ExperimentPhase.DONE, Reason.SUCCEEDED, "All steps have succeeded", suspended=suspend and not alive
        )
    if suspend and not live and alive:
        return Verdict(ExperimentPhase.ACTIVE, Reason.STOPPING, f"waits until they have ended: {'; '.join(alive)}")
    if suspend and not live:
        return Verdict(ExperimentPhase.SUSPENDED, Reason.SUSPENDED, "Suspended: set spec.suspend to false to go on")
    waiting = [step for step in steps if step.state is StepState.PENDING and step.reason != Reason.UPSTREAM_FAILED]
    if broken and not live and not waiting:
        message = "; ".join(f"step {step.name}: {step.message or step.reason}" for step in broken)
        return Verdict(ExperimentPhase.FAILED, Reason.FAILED, message, cause=Reason.STEP_FAILED)
    return Verdict(ExperimentPhase.ACTIVE, _activity(live, waiting), _message(live, waiting, broken))


_ACTIVITIES: Mapping[StepState, Reason] = {
    StepState.RUNNING: Reason.RUNNING,
    StepState.STOPPING: Reason.STOPPING,
    StepState.STARTING: Reason.STARTING,
    StepState.QUEUED: Reason.QUEUED,
}
"""What an experiment does whose steps are live; the first that one of them does."""


def _activity(live: list[StepStatus], waiting: list[StepStatus]) -> str:
    states = {step.state for step in live}
    for state, reason in _ACTIVITIES.items():
        if state in states:
            deactivated = any(step.reason == Reason.WORKLOAD_DEACTIVATED for step in live)
            return Reason.WORKLOAD_DEACTIVATED if state is StepState.QUEUED and deactivated else reason
    return Reason.WAITING if any(map(_waits_for_something, waiting)) else Reason.PENDING


def _waits_for_something(step: StepStatus) -> bool:
    return step.next_attempt_time is not None or step.reason in NAMED_WAITS


def _message(live: list[StepStatus], waiting: list[StepStatus], broken: list[StepStatus]) -> str:
    parts = [_of_step(step) for step in live]
    parts += [f"step {step.name} failed: {step.message or step.reason}" for step in broken]
    if not live:
        parts += [_of_step(step) for step in waiting if _waits_for_something(step)]
    return "; ".join(parts) or "Steps are about to start"


def _of_step(step: StepStatus) -> str:
    reason = f"step {step.name}: {step.reason}"
    return f"{reason}: {step.message}" if step.message else reason


def conclude(
    context: ReconcileContext,
    steps: Steps,
    verdict: Verdict,
    *,
    start: tuple[StartRun, ...] = (),
    stop: tuple[RunKey, ...] = (),
    forget: tuple[RunKey, ...] = (),
    wake: Iterable[datetime | None] = (),
) -> Plan:
    """Return the plan that leaves the experiment with ``steps``; ``wake``: when to look again for other reasons."""
    experiment, now, before = context.experiment, context.now, context.experiment.status
    ordered = tuple(steps[step.name] for step in experiment.spec.steps)
    status = assemble(experiment, context.desired.graph, ordered, verdict, now)
    status = status.model_copy(update={"steps": (*status.steps, *_held_and_no_longer_in_the_spec(context))})
    # of the new status: no other look may follow the one that sees a step run
    _, over = active_deadline(experiment.spec, status, now)
    end = deleted_at(experiment.spec, status)
    later = [*wake, over, end if end and end > now else None]
    return Plan(
        status,
        start,
        stop,
        forget,
        events_between(before, status),
        min((at for at in later if at is not None), default=None),
        write_status=_what_is_written(status) != _what_is_written(before),
        drop_progress=before.progress is not None and status.progress is None,
        delete_experiment=end is not None and end <= now,
    )


def _held_and_no_longer_in_the_spec(context: ReconcileContext) -> tuple[StepStatus, ...]:
    """Return removed steps whose run cannot be stopped: it would run next to an attempt of a step added again."""
    names = {step.name for step in context.experiment.spec.steps}
    held = [context.experiment.status.step(run.step) for run in context.runs if run.held and run.step not in names]
    return tuple(step for step in held if step is not None)


def _what_is_written(status: ExperimentStatus) -> ExperimentStatus:
    """Return the status without what other writers own: the progress, and conditions of other types."""
    return status.model_copy(update={"progress": None, "conditions": ours(status.conditions)})


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
    """Return the status of an experiment with ``steps``, in the order of the spec."""
    old = experiment.status
    steps = tuple(with_active_time(_with_a_bounded_message(step), experiment, now) for step in steps)
    active = any(is_active(step) for step in steps)
    finished = verdict.phase in (ExperimentPhase.DONE, ExperimentPhase.FAILED)
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


def _with_a_bounded_message(step: StepStatus) -> StepStatus:
    """Return the step, its message cleaned and bounded: parts of it come from pods, policies and webhooks."""
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
    """Return the progress as long as it is of the attempt that runs."""
    if old.progress is None or old.progress.step != current:
        return None
    before = old.step(current)
    after = next(step for step in steps if step.name == current)
    return old.progress if before is not None and before.attempt == after.attempt else None
