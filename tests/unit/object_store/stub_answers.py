"""Requests to the stub server, and answers of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def is_list(self) -> bool:
        return "list-type" in self.query or self.query.get("comp") == "list"


@dataclass(frozen=True)
class Answer:
    """An answer in place of the usual one.

    Attributes:
        cut: number of bytes of the body after which the connection is reset; None: all are sent.
        announced: value of Content-Length; None: the body's length.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    announced: int | None = None


def refusal(status: int, code: str) -> Answer:
    """Return a provider's answer with an error code, as S3, Cloud Storage, and Azure document it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>Refused</Message></Error>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


Plan = Callable[[Seen], Answer | None]
