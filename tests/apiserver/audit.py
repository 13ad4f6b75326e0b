"""Requests read from the audit log of an API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Call:
    """One finished request.

    Attributes:
        subresource: ``""`` for the object itself.
        manager: field manager; ``""`` if the request names none.
        at: end of the request, in seconds since 1970.
    """

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    agent: str
    manager: str
    at: float

    @property
    def writes(self) -> bool:
        """Return whether the verb changes something; the API server may have refused the request."""
        return self.verb in WRITES


class AuditTail:
    """Reader of what is appended to an audit log; ``read`` yields each request once.

    A watch appears twice: when it opens and when it ends.
    """

    def __init__(self, log: Path, offset: int | None = None) -> None:
        self.log = log
        self.offset = log.stat().st_size if offset is None else offset

    def read(self, *, user: str | None = None, namespace: str | None = None) -> Iterator[Call]:
        """Yield the requests finished since the last read, only those of ``user`` and in ``namespace`` if given.

        A line that the server is still writing is left for the next read.
        """
        with self.log.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                call = _call(json.loads(line))
                if (user is None or call.user == user) and (namespace is None or call.namespace == namespace):
                    yield call


def calls(log: Path, *, user: str | None = None, namespace: str | None = None, offset: int = 0) -> Iterator[Call]:
    """Yield the finished requests in ``log`` from byte ``offset``, only of ``user`` and in ``namespace`` if given."""
    return AuditTail(log, offset).read(user=user, namespace=namespace)


def _call(entry: dict[str, Any]) -> Call:
    target = entry.get("objectRef", {})
    return Call(
        user=entry["user"].get("username", ""),
        verb=entry["verb"],
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=entry.get("responseStatus", {}).get("code", 0),
        agent=entry.get("userAgent", ""),
        manager=parse_qs(urlsplit(entry.get("requestURI", "")).query).get("fieldManager", [""])[0],
        at=datetime.fromisoformat(entry["stageTimestamp"]).timestamp(),
    )
