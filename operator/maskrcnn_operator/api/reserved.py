"""Labels and annotations of podOverrides that belong to controllers: which a user may set, and on which object.

Kueue reads some of them from the Job, others from its pod template. The names are those of Kueue 0.17 to 0.19.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Field = Literal["labels", "annotations"]


class Place(StrEnum):
    """Object on which a key is set."""

    JOB = "Job"
    PODS = "pods"


@dataclass(frozen=True)
class ReservedKey:
    """One row of the table.

    Attributes:
        field: of podOverrides.
        key: of a label or annotation; one that ends with a slash or a hyphen is for all keys that begin with it.
        place: object on which it is set; None for a key that is refused.
        why: why it is refused, or what would be right.
    """

    field: Field
    key: str
    place: Place | None = None
    why: str = ""

    @property
    def is_prefix(self) -> bool:
        """Return whether the row is for all keys that begin with ``key``."""
        return self.key.endswith(("/", "-"))

    def matches(self, key: str) -> bool:
        """Return whether the row is for ``key``."""
        return key.startswith(self.key) if self.is_prefix else key == self.key


RESERVED_PREFIXES = ("maskrcnn.dev/", "kueue.x-k8s.io/", "batch.kubernetes.io/")
"""Keys with these prefixes belong to controllers."""
_ALL_OR_NOTHING = "the pods of a step run all together or not at all: remove this key"

RESERVED: tuple[ReservedKey, ...] = (
    ReservedKey("labels", "kueue.x-k8s.io/priority-class", Place.JOB),
    ReservedKey("labels", "kueue.x-k8s.io/max-exec-time-seconds", Place.JOB),
    ReservedKey("labels", "kueue.x-k8s.io/queue-name", why="set spec.queueName instead"),
    ReservedKey("annotations", "provreq.kueue.x-k8s.io/", Place.JOB),
    ReservedKey("annotations", "kueue.x-k8s.io/podset-required-topology", Place.PODS),
    ReservedKey("annotations", "kueue.x-k8s.io/podset-preferred-topology", Place.PODS),
    ReservedKey("annotations", "kueue.x-k8s.io/podset-unconstrained-topology", Place.PODS),
    ReservedKey("annotations", "kueue.x-k8s.io/podset-slice-", Place.PODS),
    ReservedKey("annotations", "kueue.x-k8s.io/job-min-parallelism", why=_ALL_OR_NOTHING),
    ReservedKey("annotations", "kueue.x-k8s.io/elastic-job", why=_ALL_OR_NOTHING),
)
"""Keys with a reserved prefix that may be set, and keys that are refused for a reason of their own."""


def allowed(field: Field) -> tuple[ReservedKey, ...]:
    """Return the rows of keys that a user may set."""
    return tuple(row for row in RESERVED if row.field == field and row.place is not None)


def refused(field: Field) -> tuple[ReservedKey, ...]:
    """Return the rows of keys that are refused for a reason of their own."""
    return tuple(row for row in RESERVED if row.field == field and row.place is None)


def rule_in_words(field: Field) -> str:
    """Return a sentence that names the keys of controllers, and those of them that a user may set."""
    names = [f"{row.key}*" if row.is_prefix else row.key for row in allowed(field) if _is_reserved(row.key)]
    return (
        f"keys under {', '.join(RESERVED_PREFIXES)} belong to controllers; of these, only {', '.join(names)} may be set"
    )


def refusal(field: Field, key: str) -> str:
    """Return why a key is refused; empty if it may be set."""
    row = _row(field, key)
    if row is not None:
        return row.why
    return rule_in_words(field) if _is_reserved(key) else ""


def carried_by(place: Place, field: Field, values: Mapping[str, str]) -> dict[str, str]:
    """Return the labels or annotations of an object; those that are not for the Job are for the pods."""
    return {key: value for key, value in values.items() if _place(field, key) is place}


def _place(field: Field, key: str) -> Place:
    row = _row(field, key)
    return row.place if row is not None and row.place is not None else Place.PODS


def _row(field: Field, key: str) -> ReservedKey | None:
    return next((row for row in RESERVED if row.field == field and row.matches(key)), None)


def _is_reserved(key: str) -> bool:
    return key.startswith(RESERVED_PREFIXES)
