"""Summary of the steps: verdict on the experiment as a whole, its status, and the plan that writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import (
    EARLIEST,
    LIVE_STATES,
    ConditionType,
    ExperimentStatus,
    Progress,
    StepState,
    StepStatus,
)
from maskrcnn_operator.api.task_kinds import Model, Shown
from maskrcnn_operator.api.text import clean
from maskrcnn_operator.core.conditions import ExperimentPhase, Verdict, conditions, ours
from maskrcnn_operator.core.events import events_between
from maskrcnn_operator.core.graph import StepGraph
from maskrcnn_operator.core.limits import active_deadline, active_time, deleted_at, is_active, with_active_time
from maskrcnn_operator.core.plan import Plan, ReconcileContext, StartRun, Steps
from maskrcnn_operator.core.runs import RunKey

STEP_MESSAGE_LENGTH = 8192
"""Maximum length of a step's message in characters; the messages of 32 steps easily fit into one object."""

_CURRENT_STATES = frozenset({StepState.STARTING, StepState.RUNNING, StepState.STOPPING})


def seen() -> Verdict:
    """Return the verdict on a new experiment."""
    return Verdict(ExperimentPhase.SEEN, Reason.PENDING, "The experiment is about to start")


def invalid(problems: tuple[ManifestProblem, ...], *, suspended: bool = False) -> Verdict:
    """Return the verdict on an experiment with an invalid spec."""
    lines = "\n".join(str(problem) for problem in problems)
    return Verdict(ExperimentPhase.INVALID, str(problems[0].reason), lines, suspended=suspended)


NAMED_WAITS = frozenset(
    {
        Reason.WAITING_FOR_PODS,
        Reason.WAITING_FOR_CLAIM,
        Reason.OWNER_UNKNOWN,
        Reason.NAME_TAKEN,
        Reason.JOB_REFUSED,
        Reason.UPSTREAM_CHANGED,
    }
)
"""Reasons why a step that could start waits for something other than the experiment's steps."""


def assess(steps: tuple[StepStatus, ...], *, suspend: bool, alive: tuple[str, ...] = ()) -> Verdict:
    """Return the verdict on an experiment with a valid spec.

    Args:
        steps: steps in the order of the spec.
        suspend: whether spec.suspend is true.
        alive: descriptions of everything that has not ended, such as lingering pods; a suspension waits for it.
    """
    live = [step for step in steps if step.state in LIVE_STATES]
    broken = [step for step in steps if step.state is StepState.FAILED]
    if all(step.state is StepState.SUCCEEDED for step in steps):
        return Verdict(
            ExperimentPhase.DONE, Reason.SUCCEEDED, "All steps have succeeded", suspended=suspend and not alive
        )
    if suspend and not live and alive:
        return Verdict(ExperimentPhase.ACTIVE, Reason.STOPPING, f"waits for the end of {'; '.join(alive)}")
    if suspend and not live:
        return Verdict(ExperimentPhase.SUSPENDED, Reason.SUSPENDED, "Suspended: set spec.suspend to false to resume")
    waiting = [step for step in steps if step.state is StepState.PENDING and step.reason != Reason.UPSTREAM_FAILED]
    if broken and not live and not waiting:
        message = "; ".join(map(_of_step, broken))
        return Verdict(ExperimentPhase.FAILED, Reason.FAILED, message, cause=_cause(broken))
    return Verdict(ExperimentPhase.ACTIVE, _activity(live, waiting), _message(live, waiting, broken))


_CAUSES = frozenset(
    {
        Reason.STORE_PERMISSION_DENIED,
        Reason.BUCKET_NOT_FOUND,
        Reason.CONDITIONAL_WRITES_MISSING,
        Reason.ANOTHERS_OWNER,
        Reason.WORKSPACE_FULL,
        Reason.CACHE_FULL,
    }
)
"""Reasons of failed steps that are about the workspace and the cache of the whole experiment."""


def _cause(broken: list[StepStatus]) -> str:
    """Return the common reason of the failed steps if it is about the whole experiment, else StepFailed."""
    reasons = {step.reason for step in broken}
    return reasons.pop() if len(reasons) == 1 and reasons <= _CAUSES else Reason.STEP_FAILED


_ACTIVITIES: Mapping[StepState, Reason] = {
    StepState.RUNNING: Reason.RUNNING,
    StepState.STOPPING: Reason.STOPPING,
    StepState.STARTING: Reason.STARTING,
    StepState.QUEUED: Reason.QUEUED,
}
"""State of an experiment with live steps: the first of these that one of the steps has."""


def _activity(live: list[StepStatus], waiting: list[StepStatus]) -> str:
    states = {step.state for step in live}
    for state, reason in _ACTIVITIES.items():
        if state in states:
            deactivated = any(step.reason == Reason.WORKLOAD_DEACTIVATED for step in live)
            return Reason.WORKLOAD_DEACTIVATED if state is StepState.QUEUED and deactivated else reason
    if any(step.reason == Reason.OWNER_UNKNOWN for step in waiting):
        return Reason.OWNER_UNKNOWN
    return Reason.WAITING if any(map(_waits_for_something, waiting)) else Reason.PENDING


def _waits_for_something(step: StepStatus) -> bool:
    return step.next_attempt_time is not None or step.reason in NAMED_WAITS


def _message(live: list[StepStatus], waiting: list[StepStatus], broken: list[StepStatus]) -> str:
    parts = [_of_step(step) for step in live]
    parts += [_of_step(step, " failed") for step in broken]
    if not live:
        parts += [_of_step(step) for step in waiting if _waits_for_something(step)]
    return "; ".join(parts) or "Steps are about to start"


def _of_step(step: StepStatus, state: str = "") -> str:
    reason = f"step {step.name}{state}: {step.reason}"
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
    workspace: str | None = None,
) -> Plan:
    """Return the plan that gives the experiment ``steps``.

    Args:
        context: of the reconciliation.
        steps: all steps of the spec by name.
        verdict: on the experiment as a whole.
        start: attempts to start.
        stop: runs to stop.
        forget: ended runs to remove.
        wake: further times to reconcile again; None for never.
        workspace: workspace that the status is about; None to keep the recorded one.
    """
    experiment, now, before = context.experiment, context.now, context.experiment.status
    ordered = tuple(steps[step.name] for step in experiment.spec.steps)
    status = assemble(experiment, context.desired.graph, ordered, verdict, now)
    status = status.model_copy(update={"steps": (*status.steps, *_held_and_no_longer_in_the_spec(context))})
    changed = _what_is_written(status) != _what_is_written(before)
    may_move = status.is_true(ConditionType.SUSPENDED)
    if workspace is not None and (changed or before.workspace is not None or may_move):
        # an older release has left statuses without it; that alone is worth a write only where the place may change
        changed = changed or before.workspace != workspace
        status = status.model_copy(update={"workspace": workspace})
    # from the new status: this may be the last reconciliation before the deadline
    _, over = active_deadline(experiment.spec, status, now)
    end = deleted_at(experiment.spec, status)
    later = [*wake, over, end if end and end > now else None]
    return Plan(
        status,
        start,
        stop,
        forget,
        events_between(before, status, experiment),
        min((at for at in later if at is not None), default=None),
        write_status=changed,
        drop_progress=before.progress is not None and status.progress is None,
        delete_experiment=end is not None and end <= now,
    )


def _held_and_no_longer_in_the_spec(context: ReconcileContext) -> tuple[StepStatus, ...]:
    """Return removed steps whose run cannot be stopped, so that a step added again does not run at the same time."""
    names = {step.name for step in context.experiment.spec.steps}
    held = [context.experiment.status.step(run.step) for run in context.runs if run.held and run.step not in names]
    return tuple(step for step in held if step is not None)


def _what_is_written(status: ExperimentStatus) -> ExperimentStatus:
    """Return the status without the parts of other writers: the progress, and conditions of other types."""
    return status.model_copy(update={"progress": None, "conditions": ours(status.conditions)})


def current_step(experiment: MaskRCNNExperiment, steps: tuple[StepStatus, ...]) -> str | None:
    """Return the first train step that starts, runs, or stops, or else the first other step that does."""
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
        workspace=old.workspace,
        start_time=old.start_time or min(starts, default=None),
        completion_time=(old.completion_time or now) if finished else None,
        progress=_progress(old, steps, current),
        metrics=evaluated.metrics if evaluated else (),
        model_path=trained.model_path if trained else None,
        export_path=exported.model_path if exported else None,
    )


def _with_a_bounded_message(step: StepStatus) -> StepStatus:
    """Return the step with its message cleaned and cut: parts of it come from pods, policies, and webhooks."""
    message = clean(step.message, STEP_MESSAGE_LENGTH)
    return step if message == step.message else step.model_copy(update={"message": message})


def _newest(
    experiment: MaskRCNNExperiment, steps: tuple[StepStatus, ...], shown: Shown, graph: StepGraph | None = None
) -> StepStatus | None:
    """Return the last finished step whose result ``shown`` shows; with ``graph``, none that used an exported model."""
    finished = []
    for step in steps:
        if step.state is not StepState.SUCCEEDED or experiment.step(step.name).kind.shown is not shown:
            continue
        maker = graph.nodes[step.name].model if graph and step.name in graph.nodes else None
        if maker is None or experiment.step(maker).kind.makes_model is not Model.EXPORTED:
            finished.append(step)
    # of steps that finished in the same second, the last in the spec
    return max(reversed(finished), key=lambda step: step.completion_time or EARLIEST, default=None)


def _progress(old: ExperimentStatus, steps: tuple[StepStatus, ...], current: str | None) -> Progress | None:
    """Return the progress if it belongs to the running attempt, else None."""
    if old.progress is None or old.progress.step != current:
        return None
    before = old.step(current)
    after = next(step for step in steps if step.name == current)
    return old.progress if before is not None and before.attempt == after.attempt else None
