"""The types of conditions. Reconciling, Stalled and Suspended stand there only while True, as kstatus wants it."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition speaks of."""

    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    READY = "Ready"
