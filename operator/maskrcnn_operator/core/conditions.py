"""Conditions of an experiment, from the verdict on its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import (
    CONDITION_MESSAGE_LENGTH,
    Condition,
    ConditionType,
)
from maskrcnn_operator.api.text import clean

_OURS = frozenset(ConditionType)
Value = Literal["True", "False", "Unknown"]


class ExperimentPhase(StrEnum):
    """State of an experiment as a whole, a row in the table of conditions."""

    SEEN = "seen"
    INVALID = "invalid"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True)
class Verdict:
    """Verdict on the experiment as a whole.

    Attributes:
        phase: row of the table of conditions.
        reason: reason of Ready, one word.
        message: of all conditions.
        cause: reason of Stalled and Succeeded if it is more specific.
        suspended: whether Suspended is True in addition to the conditions of the phase.
    """

    phase: ExperimentPhase
    reason: str
    message: str
    cause: str = ""
    suspended: bool = False


_TABLE: Mapping[ExperimentPhase, Mapping[ConditionType, Value]] = {
    ExperimentPhase.SEEN: {
        ConditionType.RECONCILING: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "Unknown",
    },
    ExperimentPhase.ACTIVE: {
        ConditionType.RECONCILING: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "False",
    },
    ExperimentPhase.SUSPENDED: {
        ConditionType.SUSPENDED: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "True",
    },
    ExperimentPhase.INVALID: {
        ConditionType.STALLED: "True",
        ConditionType.SUCCEEDED: "Unknown",
        ConditionType.READY: "False",
    },
    ExperimentPhase.FAILED: {
        ConditionType.STALLED: "True",
        ConditionType.SUCCEEDED: "False",
        ConditionType.READY: "False",
    },
    ExperimentPhase.DONE: {ConditionType.SUCCEEDED: "True", ConditionType.READY: "True"},
}
"""Conditions by phase; the abnormal ones (Reconciling, Stalled, Suspended) are present only while they are True."""


def ours(found: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return the conditions of an experiment without those of other writers, which an apply leaves unchanged."""
    return tuple(condition for condition in found if condition.type in _OURS)


def conditions(
    verdict: Verdict, before: tuple[Condition, ...], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions of a verdict; a condition whose status is unchanged keeps its time."""
    expected = dict(_TABLE[verdict.phase])
    if verdict.suspended:
        expected[ConditionType.SUSPENDED] = "True"
    old = {condition.type: condition for condition in before}
    found = []
    for kind in ConditionType:
        if kind not in expected:
            continue
        previous = old.get(kind)
        same = previous is not None and previous.status == expected[kind]
        cause = verdict.cause if kind in (ConditionType.STALLED, ConditionType.SUCCEEDED) else ""
        reason = Reason.SUSPENDED if kind is ConditionType.SUSPENDED else cause or verdict.reason
        found.append(
            Condition(
                type=kind.value,
                status=expected[kind],
                reason=str(reason),
                message=clean(verdict.message, CONDITION_MESSAGE_LENGTH),
                last_transition_time=previous.last_transition_time if previous and same else now,
                observed_generation=generation,
            )
        )
    return tuple(found)
