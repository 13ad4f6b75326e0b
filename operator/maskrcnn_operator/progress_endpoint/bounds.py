"""Limits on the connections of the report endpoint: order of opening, choice of the one to close, deadlines. Pure.

A client needs no token to connect, so the limits apply when only its address is known. The address with the most
connections loses one first. There is no limit per address, because many pods may share one (NAT).
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
        connections: connections that are open at the same time, including TLS handshakes. One takes up to 512 KiB:
            256 KiB for asyncio's TLS buffer, ``total_bytes``, and OpenSSL's buffers.
        waiting: connections that are accepted but not open yet; one takes a file descriptor and a few KiB.
        openings_per_second: average rate of openings, after a burst of ``connections``. A TLS handshake takes 1 to
            2 ms of CPU. If no request is answered, a connection stays open for connections / openings_per_second
            = 0.64 s, more than ``idle_seconds``: if clients only open connections, none is closed before it can report.
        idle_seconds: time after opening from which a connection without complete headers may be closed first. A report
            takes about 10 ms, more on a node without free CPU.
        handshake_seconds: time for the TLS handshake.
        head_seconds: time for the headers, after the handshake.
        answer_seconds: time after opening before which a connection with complete headers is closed only if its address
            has more connections than the newcomer's.
        total_seconds: time from accept until the connection is closed, including the response.
        head_bytes: size of the headers; a Kubernetes token has about 1 KiB.
        total_bytes: bytes read from a connection; the rest is dropped. A report has at most 64 KiB.
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
    """Properties of a connection on which the limits depend."""

    @property
    def address(self) -> str:
        """The client's address without its port."""

    @property
    def since(self) -> float:
        """Time of opening, or of acceptance if it still waits, by a monotonic clock in seconds."""

    @property
    def phase(self) -> ConnectionPhase:
        """Stage of the connection."""


H = TypeVar("H", bound=Held)


@dataclass(frozen=True)
class Turn(Generic[H]):
    """Connection to open, and the one to close for it."""

    newcomer: H
    cut: H | None


def connection_to_refuse(waiting: Collection[H], bounds: Bounds) -> H | None:
    """Return the waiting connection to close: the newest of the address with the most; None within the limit."""
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
    """Return when to close a connection that was accepted at ``accepted`` and entered ``phase`` at ``entered``."""
    end = accepted + bounds.total_seconds
    if phase is ConnectionPhase.HANDSHAKE:
        return min(end, entered + bounds.handshake_seconds)
    if phase is ConnectionPhase.HEAD:
        return min(end, entered + bounds.head_seconds)
    return end


def _connection_to_cut(held: Collection[H], newcomer: str, now: float, bounds: Bounds) -> H | None:
    """Return the connection to close for one of the address ``newcomer``; None if it must wait.

    Connections that have used up their time come first. If there is none, an address may take one from an address with
    more connections.
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
