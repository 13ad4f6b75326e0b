"""Events for the changes between two statuses."""

from __future__ import annotations

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import LIVE_STATES, ConditionType, ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.core.plan import REFUSAL_REASONS, Event
from maskrcnn_operator.core.workspace_paths import results_url

_NO_WARNING = frozenset({"", Reason.STARTING.value, Reason.SCHEDULING_GATED.value})
"""Reasons of a normal start. With a topology, Kueue gates the pods of every start for a moment."""
_WARNED_OF = REFUSAL_REASONS | {Reason.JOB_RELABELED, Reason.WORKLOAD_DEACTIVATED, Reason.PUBLISH_DELAYED}
"""Reasons that cause an event even if the state stays the same."""


def events_between(
    before: ExperimentStatus, after: ExperimentStatus, experiment: MaskRCNNExperiment
) -> tuple[Event, ...]:
    """Return the events for the change from one status of an experiment to the next."""
    found: list[Event] = []
    for step in after.steps:
        results = results_url(experiment, step.name)
        found += _of_step(before.step(step.name) or StepStatus(name=step.name), step, results)
    old, new = before.condition(ConditionType.READY), after.condition(ConditionType.READY)
    if new is not None and (old is None or old.reason != new.reason):
        stalled = after.is_true(ConditionType.STALLED)
        if stalled or new.reason in (Reason.SUCCEEDED, Reason.SUSPENDED):
            found.append(Event("Warning" if stalled else "Normal", new.reason, new.message))
    if before.is_true(ConditionType.SUSPENDED) and not after.is_true(ConditionType.SUSPENDED):
        found.append(Event("Normal", Reason.RESUMED, "Resumed"))
    return tuple(found)


def _cannot_start(step: StepStatus) -> bool:
    """Return whether something keeps the pods of the step from starting."""
    return step.state is StepState.STARTING and step.reason not in _NO_WARNING


def _of_step(before: StepStatus, after: StepStatus, results: str | None) -> list[Event]:
    event: Event | None = None
    if after.state in LIVE_STATES and after.attempt != before.attempt:
        event = Event("Normal", Reason.STEP_STARTED, f"step {after.name}: attempt {after.attempt}")
    elif after.reason != before.reason and (after.reason in _WARNED_OF or _cannot_start(after)):
        event = Event("Warning", after.reason, f"step {after.name}: {after.message}")
    elif after.reason == Reason.TEMPLATE_CHANGED and after.reason != before.reason:
        event = Event("Normal", after.reason, f"step {after.name}: {after.message}")
    elif after.state is before.state:
        event = None
    elif after.state is StepState.SUCCEEDED:
        where = f"; results in {results}" if results is not None else ""
        event = Event("Normal", Reason.STEP_SUCCEEDED, f"step {after.name}: {after.reason}{where}")
    elif after.state is StepState.FAILED:
        event = Event("Warning", Reason.STEP_FAILED, f"step {after.name}: {after.reason}: {after.message}")
    elif before.state in LIVE_STATES and after.state is StepState.PENDING and after.next_attempt_time:
        event = Event("Warning", Reason.STEP_RESTARTING, f"step {after.name}: {after.reason}: {after.message}")
    found = [event] if event else []
    if after.state is StepState.SUCCEEDED and before.state is not StepState.SUCCEEDED and after.report_path:
        found.append(Event("Normal", Reason.REPORT_WRITTEN, f"step {after.name}: report {after.report_path}"))
    return found
