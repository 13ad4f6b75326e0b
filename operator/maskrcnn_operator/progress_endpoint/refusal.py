"""Why a report is not taken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportRefusal:
    """An answer of 400 and above, for people and for machines.

    Attributes:
        status: HTTP status.
        reason: one CamelCase word.
        message: what is wrong, in a sentence.
        retry_after: seconds to wait before another try; None where trying again does not help.
    """

    status: int
    reason: str
    message: str
    retry_after: float | None = None


class Refused(Exception):
    """Carries a :class:`ReportRefusal` to where the answer is made."""

    def __init__(self, refusal: ReportRefusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
