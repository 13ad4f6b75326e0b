"""Data that a connection of the report endpoint passes to HTTP, and the time of its end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

from maskrcnn_operator.progress_endpoint.bounds import Bounds, ConnectionPhase
from maskrcnn_operator.progress_endpoint.connection import Connection

BOUNDS = Bounds(head_bytes=100, total_bytes=300)
HEAD = b"POST /v1/report HTTP/1.1\r\nHost: x\r\n\r\n"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closing = self.aborted = False

    def is_closing(self) -> bool:
        return self.closing or self.aborted

    def abort(self) -> None:
        self.aborted = True


class Handler(asyncio.Protocol):
    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


class Bench:
    """Connection between a socket and a handler."""

    def __init__(self, bounds: Bounds = BOUNDS) -> None:
        self.handler, self.transport = Handler(), Transport()
        self.cut: list[str] = []
        self.ended: list[Connection] = []
        here, self.there = socket.socketpair()
        self.connection = Connection(
            here, "a", bounds,
            new_handler=lambda: self.handler, on_cut=lambda: self.cut.append("a"), on_end=self.ended.append,
        )  # fmt: skip


@pytest.fixture
async def waiting() -> Bench:
    return Bench()


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    bench.connection.connection_made(bench.transport)
    return bench


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_head_in_parts_is_complete_with_its_last_byte(bench: Bench, size: int) -> None:
    parts = [HEAD[index : index + size] for index in range(0, len(HEAD), size)]
    for part in parts[:-1]:
        bench.connection.data_received(part)
    assert bench.connection.phase is ConnectionPhase.HEAD
    bench.connection.data_received(parts[-1])
    assert bench.connection.phase is ConnectionPhase.ANSWER
    assert bench.handler.received == HEAD


async def test_empty_lines_before_a_request_are_no_head(bench: Bench) -> None:
    for _ in range(1000):
        bench.connection.data_received(b"\r\n\r\n")
    assert bench.connection.phase is ConnectionPhase.HEAD
    assert bench.handler.received == b""


@pytest.mark.parametrize("size", [1, 40, 1000])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_that_is_too_large_is_cut(bench: Bench, size: int, end: bytes) -> None:
    head = b"POST /v1/report HTTP/1.1\r\nX: " + b"x" * 100 + end
    for index in range(0, len(head), size):
        bench.connection.data_received(head[index : index + size])
    assert bench.transport.aborted
    assert bench.cut == ["a"]
    assert len(bench.handler.received) <= BOUNDS.head_bytes


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_a_head_of_the_largest_size_is_taken(bench: Bench, size: int) -> None:
    line = b"POST /v1/report HTTP/1.1\r\nX: "
    head = line + b"x" * (BOUNDS.head_bytes - len(line) - 4) + b"\r\n\r\n"
    for index in range(0, len(head), size):
        bench.connection.data_received(head[index : index + size])
    assert bench.connection.phase is ConnectionPhase.ANSWER
    assert bench.cut == []


async def test_what_exceeds_the_bytes_of_a_connection_is_dropped(bench: Bench) -> None:
    bench.connection.data_received(HEAD)
    for _ in range(10):
        bench.connection.data_received(HEAD * 5)
    assert bench.handler.received == (HEAD * 60)[: BOUNDS.total_bytes]
    assert not bench.transport.aborted


async def test_data_after_the_response_is_dropped(bench: Bench) -> None:
    bench.connection.data_received(HEAD)
    bench.transport.closing = True
    bench.connection.data_received(HEAD)
    assert bench.handler.received == HEAD


async def test_an_answered_connection_is_closed_without_being_counted_as_cut(bench: Bench) -> None:
    bench.transport.closing = True
    bench.connection.cut()
    assert bench.transport.aborted
    assert bench.cut == []


async def test_the_error_of_a_lost_connection_keeps_no_frame(bench: Bench) -> None:
    try:
        raise ConnectionResetError("reset by peer")
    except ConnectionResetError as raised:
        error = raised
    bench.connection.connection_lost(error)
    assert error.__traceback__ is None


async def test_the_time_of_a_connection_begins_when_it_is_opened(waiting: Bench) -> None:
    accepted = waiting.connection.since
    await asyncio.sleep(0.02)
    opening = asyncio.create_task(waiting.connection.open(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))
    await asyncio.sleep(0.01)
    waiting.there.close()
    with pytest.raises(ConnectionResetError):
        await opening
    assert waiting.connection.since >= accepted + 0.02
    assert waiting.ended == [waiting.connection]


async def test_lost_connection_has_no_timer(bench: Bench) -> None:
    bench.connection.connection_lost(None)
    assert bench.ended == [bench.connection]
    assert [handle for handle in _timers() if not handle.cancelled()] == []


def _timers() -> list[Any]:
    found: list[Any] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return found


async def test_time_for_the_headers_ends_with_them() -> None:
    bench = Bench(Bounds(head_seconds=0.01))
    bench.connection.connection_made(bench.transport)
    bench.connection.data_received(HEAD)
    await asyncio.sleep(0.05)
    assert bench.cut == []


async def test_time_in_which_a_connection_waited_counts() -> None:
    bench = Bench(Bounds(total_seconds=4.0))
    accepted = bench.connection.since
    await asyncio.sleep(0.01)
    opening = asyncio.create_task(bench.connection.open(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)))
    await asyncio.sleep(0)
    assert accepted + 4.0 in [timer.when() for timer in _timers()]
    bench.there.close()
    with pytest.raises(ConnectionResetError):
        await opening


async def test_connection_that_cannot_be_opened_is_closed(waiting: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise ssl.SSLError("out of memory")

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", fails)
    with pytest.raises(ssl.SSLError):
        await waiting.connection.open(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    waiting.there.settimeout(5.0)
    assert waiting.there.recv(1) == b""
    assert waiting.ended == [waiting.connection]
