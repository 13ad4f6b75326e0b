"""Conditions that are written alone, where the steps must stay as they are stored.

They are JSON as the API server shows it: conditions of other writers, and values that a later release has added, are
kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.status import ConditionType, format_time

MESSAGE_LENGTH = 1024
"""Characters of a notice: an answer may repeat the whole object, and the status has little room left."""

RawCondition = Mapping[str, Any]


@dataclass(frozen=True)
class Notice:
    """Reason and message for a status that does not follow.

    Attributes:
        stalled: whether it takes a change by a person; else the operator keeps trying.
    """

    reason: Reason
    message: str
    stalled: bool


def notice(reason: Reason, message: str, *, stalled: bool) -> Notice:
    """Return a notice whose message is cleaned and cut, whatever an answer was made of."""
    return Notice(reason, cleaned(message), stalled)


def cleaned(message: str) -> str:
    """Return a text without control characters and lone surrogates, at most MESSAGE_LENGTH characters long."""
    readable = message.encode("utf-8", "replace").decode("utf-8")
    readable = " ".join("".join(sign if sign.isprintable() else " " for sign in readable).split())
    return readable if len(readable) <= MESSAGE_LENGTH else readable[: MESSAGE_LENGTH - 3] + "..."


def raw_conditions(experiment: Mapping[str, Any]) -> tuple[RawCondition, ...]:
    """Return the conditions of an object as it is stored; none where they are not a list of objects."""
    status = experiment.get("status")
    found = status.get("conditions") if isinstance(status, Mapping) else None
    return tuple(item for item in found if isinstance(item, Mapping)) if isinstance(found, list) else ()


def with_notice(
    before: Sequence[RawCondition], found: Notice, generation: int, now: datetime
) -> tuple[RawCondition, ...]:
    """Return the conditions with a notice in them; equal to ``before`` where it is in them.

    Stalled (or Reconciling, while the operator keeps trying) is True and Ready has the reason. Ready stays True where
    it is and the operator keeps trying: what has succeeded has succeeded. Succeeded, Suspended and the conditions of
    other writers stay as they are.
    """
    conditions = {str(condition.get("type")): condition for condition in before}
    ready = conditions.get(ConditionType.READY, {}).get("status")
    wanted: dict[ConditionType, str] = {}
    if found.stalled:
        conditions.pop(ConditionType.RECONCILING, None)
        wanted = {ConditionType.STALLED: "True", ConditionType.READY: "False"}
    else:
        wanted[ConditionType.RECONCILING] = "True"
        if ready != "True":
            wanted[ConditionType.READY] = str(ready or "Unknown")
    if ConditionType.SUCCEEDED not in conditions:
        wanted[ConditionType.SUCCEEDED] = "Unknown"
    for kind, status in wanted.items():
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
    """Return when a condition got its status, as Kubernetes writes times."""
    same = before is not None and before.get("status") == status
    since = before.get("lastTransitionTime") if before is not None and same else None
    return str(since or format_time(now))
