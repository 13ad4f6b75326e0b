"""Bounds on the connections of the report endpoint: which is opened next, which is cut, how long each may stay. Pure.

A client needs no token to connect, so the bounds apply when only its address is known. The address with the most
connections loses one first. No address has a limit of its own, because many pods may share one (NAT).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar


class ConnectionPhase(Enum):
    """Stage of a connection."""

    HANDSHAKE = "handshake"
    HEAD = "head"
    """TLS is established, and the request's headers are incomplete."""
    ANSWER = "answer"
    """The headers are complete; the body may be missing."""
    CLOSING = "closing"
    """The answer is written."""


@dataclass(frozen=True)
class Bounds:
    """Limits of the report endpoint.

    Attributes:
        connections: open at the same time, TLS handshakes included. One takes up to half a MiB: 256 KiB for asyncio's
            TLS buffer, ``total_bytes``, OpenSSL's own.
        waiting: accepted, and not open yet; one takes a file descriptor and a few KiB.
        openings_per_second: on average, after a burst of ``connections``. A TLS handshake takes 1 to 2 ms of CPU. If
            none is answered, a connection stays open for connections / openings_per_second = 0.64 s, more than
            ``idle_seconds``: while clients only open connections, none is cut before it can report.
        idle_seconds: after it was opened. A connection that still has no complete headers is cut first. A report takes
            some 10 ms, more on a node without free CPU.
        handshake_seconds: for the TLS handshake.
        head_seconds: for the headers, after the handshake.
        answer_seconds: after it was opened. A connection with complete headers is cut before only if its address has
            more than the newcomer's.
        total_seconds: from accept until the connection is closed, the answer included.
        head_bytes: of the headers; a Kubernetes token has about 1 KiB.
        total_bytes: read from a connection, the rest is dropped; a report has at most 64 KiB.
    """

    connections: int = 128
    waiting: int = 256
    openings_per_second: float = 200.0
    idle_seconds: float = 0.5
    handshake_seconds: float = 5.0
    head_seconds: float = 5.0
    answer_seconds: float = 5.0
    total_seconds: float = 20.0
    head_bytes: int = 16 * 1024
    total_bytes: int = 128 * 1024


class Held(Protocol):
    """A connection, as the decisions see it."""

    @property
    def address(self) -> str:
        """The client's address without its port."""

    @property
    def since(self) -> float:
        """When it was opened, or accepted if it still waits, by a clock that only rises."""

    @property
    def phase(self) -> ConnectionPhase: ...


H = TypeVar("H", bound=Held)


@dataclass(frozen=True)
class Turn(Generic[H]):
    """A connection to open, and the one to cut for it."""

    newcomer: H
    cut: H | None


def connection_to_refuse(waiting: Collection[H], bounds: Bounds) -> H | None:
    """Return the waiting connection to close: the newest of the address with the most; None within the bound."""
    if len(waiting) <= bounds.waiting:
        return None
    shares = _shares(waiting)
    return max(waiting, key=lambda connection: (shares[connection.address], connection.since))


def next_turn(waiting: Sequence[H], held: Collection[H], now: float, bounds: Bounds) -> Turn[H] | None:
    """Return the first of ``waiting`` that can be opened now; None if none can."""
    if len(held) < bounds.connections:
        return next((Turn(newcomer, None) for newcomer in waiting), None)
    tried: set[str] = set()
    for newcomer in waiting:
        if newcomer.address not in tried:
            tried.add(newcomer.address)
            cut = _connection_to_cut(held, newcomer.address, now, bounds)
            if cut is not None:
                return Turn(newcomer, cut)
    return None


def deadline(phase: ConnectionPhase, accepted: float, entered: float, bounds: Bounds) -> float:
    """Return when a connection is cut that was accepted at ``accepted`` and came to ``phase`` at ``entered``."""
    end = accepted + bounds.total_seconds
    if phase is ConnectionPhase.HANDSHAKE:
        return min(end, entered + bounds.handshake_seconds)
    if phase is ConnectionPhase.HEAD:
        return min(end, entered + bounds.head_seconds)
    return end


def _connection_to_cut(held: Collection[H], newcomer: str, now: float, bounds: Bounds) -> H | None:
    """Return the connection to cut for one of the address ``newcomer``; None if it must wait.

    Connections that had their time come first. If there is none, an address may take from one that has more.
    """
    shares = _shares(held)
    spent = [connection for connection in held if _has_had_its_time(connection, now, bounds)]
    if not spent:
        largest = max(shares.values())
        if shares[newcomer] + 1 >= largest:
            return None
        spent = [connection for connection in held if shares[connection.address] == largest]
    return min(spent, key=lambda item: (not _is_idle(item), -shares[item.address], item.since))


def _has_had_its_time(connection: Held, now: float, bounds: Bounds) -> bool:
    return now - connection.since >= (bounds.idle_seconds if _is_idle(connection) else bounds.answer_seconds)


def _is_idle(connection: Held) -> bool:
    return connection.phase is not ConnectionPhase.ANSWER


def _shares(connections: Collection[Held]) -> Counter[str]:
    return Counter(connection.address for connection in connections)
