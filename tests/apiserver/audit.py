"""Counting calls from an API server's audit log."""

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
    """One request: who, what and how it ended, at ``at`` (seconds since 1970).

    ``subresource`` is ``""`` for the object itself, ``manager`` for a call that names no field manager.
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
        """Whether it changes something, had it not been refused."""
        return self.verb in WRITES


class AuditTail:
    """What is added to a log from now on; ``read`` gives each request once.

    A watch is there once when it opens and once when it ends.
    """

    def __init__(self, log: Path, offset: int | None = None) -> None:
        self.log = log
        self.offset = log.stat().st_size if offset is None else offset

    def read(self, *, user: str | None = None, namespace: str | None = None) -> Iterator[Call]:
        """The finished requests since the last read, of ``user`` and in ``namespace`` where given; the rest is skipped.

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
    """Every finished request in ``log`` from byte ``offset`` on, of ``user`` and in ``namespace`` where given."""
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
