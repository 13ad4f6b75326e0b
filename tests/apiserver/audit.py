"""Counting calls from an API server's audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Call:
    """One request: who, what and how it ended. ``subresource`` is ``""`` for the object itself."""

    user: str
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    agent: str

    @property
    def writes(self) -> bool:
        """Whether it changes something, had it not been refused."""
        return self.verb in WRITES


def calls(log: Path, *, user: str | None = None, namespace: str | None = None, offset: int = 0) -> Iterator[Call]:
    """Every finished request in ``log`` from byte ``offset`` on, of ``user`` and in ``namespace`` where given.

    A watch is there once when it opens and once when it ends. A line that the server is still writing is left out.
    """
    with log.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            entry = json.loads(line)
            target = entry.get("objectRef", {})
            call = Call(
                user=entry["user"].get("username", ""),
                verb=entry["verb"],
                resource=target.get("resource", ""),
                subresource=target.get("subresource", ""),
                namespace=target.get("namespace", ""),
                name=target.get("name", ""),
                code=entry.get("responseStatus", {}).get("code", 0),
                agent=entry.get("userAgent", ""),
            )
            if (user is None or call.user == user) and (namespace is None or call.namespace == namespace):
                yield call
