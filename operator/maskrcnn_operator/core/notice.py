"""Conditions that are written without the steps, which must stay as they are stored.

They are JSON objects as the API server returns them, so that conditions of other writers, and values from a later
release, are kept unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import ConditionType, format_time

NOTICE_LENGTH = 1024
"""Maximum length in characters: an error may repeat the whole object, and the status may have little room left."""

RawCondition = Mapping[str, Any]


@dataclass(frozen=True)
class Notice:
    """Reason and message why the status cannot be brought up to date.

    Attributes:
        reason: reason of the conditions.
        message: message of the conditions.
        stalled: whether a user must act; otherwise the operator keeps trying.
    """

    reason: Reason
    message: str
    stalled: bool


def notice(reason: Reason, message: str, *, stalled: bool) -> Notice:
    """Return a notice with its message cleaned and cut to NOTICE_LENGTH characters."""
    return Notice(reason, cleaned(message), stalled)


def cleaned(message: str) -> str:
    """Return a text without control characters and lone surrogates, cut to NOTICE_LENGTH characters."""
    readable = message.encode("utf-8", "replace").decode("utf-8")
    readable = " ".join("".join(sign if sign.isprintable() else " " for sign in readable).split())
    return readable if len(readable) <= NOTICE_LENGTH else readable[: NOTICE_LENGTH - 3] + "..."


def raw_conditions(experiment: Mapping[str, Any]) -> tuple[RawCondition, ...]:
    """Return the conditions of an object as it is stored; empty if they are not a list."""
    status = experiment.get("status")
    found = status.get("conditions") if isinstance(status, Mapping) else None
    return tuple(item for item in found if isinstance(item, Mapping)) if isinstance(found, list) else ()


def with_notice(
    before: Sequence[RawCondition], found: Notice, generation: int, now: datetime
) -> tuple[RawCondition, ...]:
    """Return the conditions with a notice added; equal to ``before`` if they already have it.

    Stalled (or Reconciling, while the operator keeps trying) becomes True, and Ready has the same reason. A Ready that
    is True stays unchanged while the operator keeps trying. Succeeded, Suspended, and the conditions of other writers
    are not changed.
    """
    conditions = {str(condition.get("type")): condition for condition in before}
    ready = conditions.get(ConditionType.READY, {}).get("status")
    expected: dict[ConditionType, str] = {}
    if found.stalled:
        conditions.pop(ConditionType.RECONCILING, None)
        expected = {ConditionType.STALLED: "True", ConditionType.READY: "False"}
    else:
        expected[ConditionType.RECONCILING] = "True"
        if ready != "True":
            expected[ConditionType.READY] = str(ready or "Unknown")
    if ConditionType.SUCCEEDED not in conditions:
        expected[ConditionType.SUCCEEDED] = "Unknown"
    for kind, status in expected.items():
        conditions[kind.value] = {
            "type": kind.value,
            "status": status,
            "reason": found.reason.value,
            "message": found.message,
            "lastTransitionTime": _since(conditions.get(kind), status, now),
            "observedGeneration": generation,
        }
    return tuple(conditions.values())


def _since(before: RawCondition | None, status: str, now: datetime) -> str:
    """Return the time at which a condition got its status, as Kubernetes writes times."""
    same = before is not None and before.get("status") == status
    since = before.get("lastTransitionTime") if before is not None and same else None
    return str(since or format_time(now))
