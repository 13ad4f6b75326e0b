"""The conditions of an experiment, from where its steps stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import (
    CONDITION_MESSAGE_LENGTH,
    LIVE_STATES,
    Condition,
    ConditionType,
    StepState,
    StepStatus,
)
from maskrcnn_operator.api.text import clean

_OURS = frozenset(ConditionType)
Value = Literal["True", "False", "Unknown"]


class Phase(StrEnum):
    """The life of an experiment: one row of the table of conditions each."""

    SEEN = "seen"
    INVALID = "invalid"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class Verdict:
    """Where the experiment stands as a whole.

    Attributes:
        reason: one word, the reason of Ready.
        cause: reason of Stalled and Succeeded where that says more.
    """

    phase: Phase
    reason: str
    message: str
    cause: str = ""
    suspended: bool = False


_TABLE: Mapping[Phase, Mapping[ConditionType, Value]] = {
    Phase.SEEN: {
        ConditionType.RECONCILING: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "Unknown",
    },
    Phase.ACTIVE: {
        ConditionType.RECONCILING: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "False",
    },
    Phase.SUSPENDED: {
        ConditionType.SUSPENDED: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "True",
    },
    Phase.INVALID: {
        ConditionType.STALLED: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "False",
    },
    Phase.FAILED: {ConditionType.STALLED: "True", ConditionType.SUCCEEDED: "False", ConditionType.READY: "False"},
    Phase.DONE: {ConditionType.SUCCEEDED: "True", ConditionType.READY: "True"},
}
"""Which conditions stand there; the abnormal ones (Reconciling, Stalled, Suspended) only while they are True."""


def seen() -> Verdict:
    """An experiment that is seen for the first time."""
    return Verdict(Phase.SEEN, Reason.PENDING, "The experiment has been seen")


def invalid(problems: tuple[Problem, ...], *, suspended: bool = False) -> Verdict:
    """An experiment that cannot be carried out as it is written."""
    lines = "\n".join(str(problem) for problem in problems)
    return Verdict(Phase.INVALID, str(problems[0].reason), lines, suspended=suspended)


NAMED_WAITS = frozenset(
    {Reason.WAITING_FOR_PODS, Reason.WAITING_FOR_CLAIM, Reason.NAME_TAKEN, Reason.JOB_REFUSED, Reason.UPSTREAM_CHANGED}
)
"""What a step that could start waits for, outside of the experiment's own steps."""


def judge(steps: tuple[StepStatus, ...], *, suspend: bool, alive: tuple[str, ...] = ()) -> Verdict:
    """Where an experiment with a valid spec stands.

    Args:
        alive: what has not ended, such as pods that linger; a suspension waits for it where no step is live.
    """
    live = [step for step in steps if step.state in LIVE_STATES]
    broken = [step for step in steps if step.state is StepState.FAILED]
    if all(step.state is StepState.SUCCEEDED for step in steps):
        return Verdict(Phase.DONE, Reason.SUCCEEDED, "All steps have succeeded", suspended=suspend and not alive)
    if suspend and not live and alive:
        return Verdict(Phase.ACTIVE, Reason.STOPPING, f"waits until they have ended: {'; '.join(alive)}")
    if suspend and not live:
        return Verdict(Phase.SUSPENDED, Reason.SUSPENDED, "Suspended: set spec.suspend to false to go on")
    waiting = [step for step in steps if step.state is StepState.PENDING and step.reason != Reason.UPSTREAM_FAILED]
    if broken and not live and not waiting:
        said = "; ".join(f"step {step.name}: {step.message or step.reason}" for step in broken)
        return Verdict(Phase.FAILED, Reason.FAILED, said, cause=Reason.STEP_FAILED)
    return Verdict(Phase.ACTIVE, _activity(live, waiting), _told(live, waiting, broken))


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


def _told(live: list[StepStatus], waiting: list[StepStatus], broken: list[StepStatus]) -> str:
    parts = [_why(step) for step in live]
    parts += [f"step {step.name} failed: {step.message or step.reason}" for step in broken]
    if not live:
        parts += [_why(step) for step in waiting if _waits_for_something(step)]
    return "; ".join(parts) or "Steps are about to start"


def _why(step: StepStatus) -> str:
    said = f"step {step.name}: {step.reason}"
    return f"{said}: {step.message}" if step.message else said


def ours(found: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return the conditions of an experiment without those of other writers, which an apply leaves as they are."""
    return tuple(condition for condition in found if condition.type in _OURS)


def conditions(
    verdict: Verdict, before: tuple[Condition, ...], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions of a verdict; the time of a condition whose status is unchanged stays."""
    wanted = dict(_TABLE[verdict.phase])
    if verdict.suspended:
        wanted[ConditionType.SUSPENDED] = "True"
    old = {condition.type: condition for condition in before}
    found = []
    for kind in ConditionType:
        if kind not in wanted:
            continue
        previous = old.get(kind)
        same = previous is not None and previous.status == wanted[kind]
        cause = verdict.cause if kind in (ConditionType.STALLED, ConditionType.SUCCEEDED) else ""
        reason = Reason.SUSPENDED if kind is ConditionType.SUSPENDED else cause or verdict.reason
        found.append(
            Condition(
                type=kind.value,
                status=wanted[kind],
                reason=str(reason),
                message=clean(verdict.message, CONDITION_MESSAGE_LENGTH),
                last_transition_time=previous.last_transition_time if previous and same else now,
                observed_generation=generation,
            )
        )
    return tuple(found)
