"""Refusal of a report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReportRefusal:
    """Error response with an HTTP status of 400 or above.

    Attributes:
        status: HTTP status.
        reason: one CamelCase word, for programs.
        message: the problem as a sentence, for users.
        retry_after: seconds to wait before a retry; None if a retry does not help.
    """

    status: int
    reason: str
    message: str
    retry_after: float | None = None


class Refused(Exception):
    """Exception that carries a :class:`ReportRefusal` to the code that makes the response."""

    def __init__(self, refusal: ReportRefusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
