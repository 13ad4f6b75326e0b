"""Report endpoint with clients that open connections and keep them, while trainings report."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import socket
import ssl
import time
from asyncio.sslproto import SSLProtocol
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_operator.progress_endpoint.bounds import Bounds
from maskrcnn_operator.progress_endpoint.listener import RECEIVE_BUFFER_BYTES

from .many_trainings import Served, clients, served

Start = Callable[..., Any]
BODY = b'{"version":1,"attempt":2,"fingerprint":"9f2c-v1","step":7,"total_steps":100}'
HEAD = b"POST /v1/report HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 0\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Return a function that serves with given limits."""
    async with AsyncExitStack() as stack:
        yield lambda bounds: stack.enter_async_context(served(1, tmp_path / "ca.crt", bounds))


def tcp(endpoint: Served, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", endpoint.port), 20.0, (address, 0))


def tls(endpoint: Served, address: str = "127.0.0.1") -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(endpoint.ca_file))
    return context.wrap_socket(tcp(endpoint, address), server_hostname="localhost")


def everything(client: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    received = b""
    with client:
        try:
            while data := client.recv(4096):
                received += data
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            pass
    return received


def report(endpoint: Served, address: str = "127.0.0.1") -> bytes:
    client = tls(endpoint, address)
    client.sendall(HEAD + BODY)
    return everything(client)


async def opened(endpoint: Served, *addresses: str) -> list[ssl.SSLSocket]:
    return [await asyncio.to_thread(tls, endpoint, address) for address in addresses]


async def is_closed(client: socket.socket) -> bool:
    return await asyncio.to_thread(everything, client) == b""


def is_open(client: ssl.SSLSocket) -> bool:
    client.settimeout(0.05)
    try:
        return client.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def reports(endpoint: Served, address: str = "127.0.0.1") -> None:
    """Fail unless a report succeeds."""
    assert (await asyncio.to_thread(report, endpoint, address)).startswith(b"HTTP/1.1 200 OK")


async def test_trainings_report_while_idle_connections_are_opened(tmp_path: Path) -> None:
    async with served(20, tmp_path / "ca.crt") as endpoint:
        watching = asyncio.create_task(endpoint.watch())
        gc.collect()
        gc.disable()
        try:
            async with clients(endpoint, "--idle=400", "--trainings=20", "--interval=1", "--spread=2") as process:
                said, _ = await process.communicate()
            buffers = tls_buffers()
        finally:
            gc.enable()
        watching.cancel()
    done = json.loads(said)
    assert done["answered"] == 20
    assert done["opened"] >= 400
    assert endpoint.most_connections <= 128
    assert endpoint.most_waiting <= 256
    assert endpoint.cut > 0
    # 256 KiB each; the garbage collector has freed none
    assert buffers <= 128 + 8


async def test_oldest_idle_connection_of_the_address_with_most_is_closed(start: Start) -> None:
    endpoint = await start(Bounds(connections=4, idle_seconds=0.0))
    other, first, second, third = await opened(endpoint, "127.0.0.2", "127.0.0.1", "127.0.0.1", "127.0.0.1")
    await reports(endpoint, "127.0.0.3")
    assert not is_open(first)
    assert [is_open(client) for client in (other, second, third)] == [True] * 3
    assert endpoint.cut == 1


async def test_connections_of_one_address_are_replaced_by_newer_ones(start: Start) -> None:
    endpoint = await start(Bounds(connections=4, idle_seconds=0.0))
    held = await opened(endpoint, *["127.0.0.1"] * 10)
    assert [is_open(client) for client in held] == [False] * 6 + [True] * 4
    assert (endpoint.listener.connections, endpoint.cut) == (4, 6)
    await reports(endpoint)


async def test_a_client_waits_until_a_connection_has_had_its_time_and_reports(start: Start) -> None:
    endpoint = await start(Bounds(connections=4, idle_seconds=1.0))
    held = await opened(endpoint, *["127.0.0.1"] * 4)
    waiting = asyncio.create_task(reports(endpoint))
    await until(lambda: endpoint.listener.waiting == 1)
    await reports(endpoint, "127.0.0.2")  # an address with fewer connections is served at once
    assert endpoint.listener.waiting == 1
    assert [is_open(client) for client in held] == [False] + [True] * 3
    await waiting
    assert endpoint.listener.waiting == 0


async def test_a_flood_of_one_address_is_refused_and_others_report(start: Start) -> None:
    endpoint = await start(Bounds(connections=4, waiting=4, idle_seconds=60.0))
    held = await opened(endpoint, *["127.0.0.1"] * 4)
    waiting = [await asyncio.to_thread(tcp, endpoint) for _ in range(4)]
    await until(lambda: endpoint.listener.waiting == 4)
    assert await is_closed(await asyncio.to_thread(tcp, endpoint))
    assert (endpoint.listener.connections, endpoint.listener.waiting, endpoint.cut) == (4, 4, 1)
    await reports(endpoint, "127.0.0.2")
    for client in (*held, *waiting):
        client.close()


async def test_connections_are_opened_at_a_bounded_rate(start: Start) -> None:
    endpoint = await start(Bounds(connections=2, openings_per_second=3.0))
    began = time.monotonic()
    for _ in range(5):
        await reports(endpoint)
    assert time.monotonic() - began >= (5 - 1 - 2) / 3.0


async def test_a_client_that_sends_nothing_is_cut(start: Start) -> None:
    endpoint = await start(Bounds(handshake_seconds=0.2))
    client = await asyncio.to_thread(tcp, endpoint)
    assert await is_closed(client)
    await until(lambda: endpoint.listener.connections == 0)
    assert endpoint.cut == 1


@pytest.mark.parametrize("sent", [b"", HEAD[:60]], ids=["nothing", "half a head"])
async def test_a_client_whose_headers_do_not_end_is_cut(start: Start, sent: bytes) -> None:
    endpoint = await start(Bounds(head_seconds=0.2))
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(sent)
    assert await is_closed(client)
    await until(lambda: endpoint.listener.connections == 0)
    assert endpoint.cut == 1


async def test_a_client_with_too_large_headers_is_cut(start: Start) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(b"POST /v1/report HTTP/1.1\r\n" + b"X: %s\r\n" % (b"x" * 1000) * 30)
    assert await is_closed(client)
    assert endpoint.cut == 1


async def test_a_client_whose_body_does_not_end_is_cut(start: Start) -> None:
    endpoint = await start(Bounds(total_seconds=0.5))
    client = await asyncio.to_thread(tls, endpoint)
    began = time.monotonic()
    client.sendall(HEAD + BODY[:10])
    assert await is_closed(client)
    assert time.monotonic() - began < 5.0
    await until(lambda: endpoint.listener.connections == 0)
    assert endpoint.cut == 1


async def test_a_client_that_never_reads_its_answer_is_forgotten(start: Start) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(HEAD + BODY)
    await until(lambda: endpoint.answered[200] == 1)
    answered = time.monotonic()
    await until(lambda: endpoint.listener.connections == 0)
    assert time.monotonic() - answered < 5.0
    assert endpoint.cut == 0
    client.close()


async def test_a_connection_takes_one_report(start: Start) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall((HEAD + BODY) * 3)
    answer = await asyncio.to_thread(everything, client)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer
    assert endpoint.answered == {200: 1}


@pytest.mark.parametrize(
    "sent",
    [b"GET /v1/report HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000],
    ids=["plain HTTP", "garbage"],
)
async def test_what_is_not_tls_is_closed_quietly(start: Start, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tcp, endpoint)
    client.sendall(sent)
    client.shutdown(socket.SHUT_WR)
    await asyncio.to_thread(everything, client)
    await until(lambda: endpoint.listener.connections == 0)
    await reports(endpoint)
    assert endpoint.cut == 0
    assert loud(caplog) == []


async def test_a_malformed_request_is_answered_in_json_and_quietly(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(b"POST \x00 HTTP/1.1\r\n\r\n")
    answer = await asyncio.to_thread(everything, client)
    assert b" 400 Bad Request\r\n" in answer
    assert b'"reason": "BadRequest"' in answer
    assert loud(caplog) == []


async def test_client_that_disconnects_before_its_response_is_not_an_error(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(HEAD + BODY[:10])
    await until(lambda: endpoint.reviews == 1)
    client.close()
    await until(lambda: endpoint.listener.connections == 0)
    await reports(endpoint)
    assert endpoint.answered == {200: 1}
    assert loud(caplog) == []


ENDINGS = {
    "no handshake": None, "nothing": b"", "half a head": HEAD[:60], "half a body": HEAD + BODY[:10],
    "no body": HEAD, "a report": HEAD + BODY, "malformed": b"POST \x00 HTTP/1.1\r\n\r\n", "no HTTP": b"x" * 100,
}  # fmt: skip


@pytest.mark.parametrize("sent", ENDINGS.values(), ids=ENDINGS)
async def test_a_connection_that_ends_leaves_no_buffer_to_the_collector(start: Start, sent: bytes | None) -> None:
    """Half of the clients close the connection, and the endpoint closes the others; None: no TLS handshake."""
    endpoint = await start(Bounds(connections=2, idle_seconds=0.0, answer_seconds=0.0))
    connect = tcp if sent is None else tls
    gc.collect()
    gc.disable()
    try:
        clients = []
        for number in range(20):
            client = await asyncio.to_thread(connect, endpoint)
            client.sendall(sent or b"")
            await asyncio.sleep(0.01)
            if number % 2:
                client.close()
            clients.append(client)
        await until(lambda: endpoint.listener.waiting == 0)
        await asyncio.sleep(0.05)
        assert tls_buffers() <= 2
        for client in clients:
            client.close()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "warning"),
    [
        (OSError(errno.EMFILE, "Too many open files"), ["[Errno 24] Too many open files"]),
        (OSError(errno.ECONNABORTED, "Software caused connection abort"), []),
    ],
    ids=["no file descriptor", "connection aborted"],
)
async def test_accepting_continues_after_an_error(
    start: Start, error: OSError, warning: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = await start(Bounds())
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, 0

    async def fail_twice(listening: socket.socket) -> Any:
        nonlocal failures
        failures += 1
        if failures <= 2:
            raise error
        return await accept(listening)

    await reports(endpoint)
    monkeypatch.setattr(loop, "sock_accept", fail_twice)
    await reports(endpoint)  # accepted by the call that was waiting
    await reports(endpoint)
    assert failures > 2
    assert not any(task.done() for task in endpoint.listener.tasks)
    assert loud(caplog) == [f"The report endpoint cannot accept connections, retrying: {text}" for text in warning]


async def test_bug_while_a_connection_is_opened_is_logged_and_ends_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = await start(Bounds())

    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio.get_running_loop(), "connect_accepted_socket", fails)
        assert await is_closed(await asyncio.to_thread(tcp, endpoint))
    await reports(endpoint)
    assert loud(caplog) == ["Could not open a connection from 127.0.0.1"]


async def test_report_with_a_too_large_content_length_is_refused_before_its_body(start: Start) -> None:
    endpoint = await start(Bounds())
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(HEAD.replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 65537"))
    assert (await asyncio.to_thread(everything, client)).startswith(b"HTTP/1.1 413 ")


async def test_connections_take_little_memory_of_the_kernel(start: Start) -> None:
    endpoint = await start(Bounds())
    [listening] = endpoint.listener._sockets
    # Linux doubles the value for its own bookkeeping, see socket(7)
    assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * RECEIVE_BUFFER_BYTES


@pytest.mark.timeout(60)
async def test_other_work_continues_while_clients_connect_without_a_pause(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await start(Bounds(waiting=4))

    async def client_at_once(_: socket.socket) -> Any:
        client, accepted = socket.socketpair()
        client.close()
        return accepted, ("10.0.0.1", 1)

    await reports(endpoint)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", client_at_once)
    await reports(endpoint)  # accepted by the call that was waiting
    await asyncio.sleep(0.05)
    assert endpoint.listener.waiting <= 4


async def test_cleanup_closes_connections_of_every_phase_and_stops_listening(start: Start) -> None:
    endpoint = await start(Bounds())
    port = endpoint.port
    in_handshake = await asyncio.to_thread(tcp, endpoint)
    idle, in_head, in_body = await opened(endpoint, *["127.0.0.1"] * 3)
    in_head.sendall(HEAD[:60])
    in_body.sendall(HEAD)
    await until(lambda: endpoint.listener.connections == 4)
    async with asyncio.timeout(10):
        await endpoint.listener.cleanup()
    assert endpoint.listener.connections == 0
    assert all(task.done() for task in endpoint.listener.tasks)
    assert endpoint.cut == 0
    for client in (in_handshake, idle, in_head, in_body):
        await asyncio.to_thread(everything, client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5.0)


async def test_cleanup_closes_connections_that_wait(start: Start) -> None:
    endpoint = await start(Bounds(connections=1, idle_seconds=60.0))
    held = await asyncio.to_thread(tls, endpoint)
    waiting = await asyncio.to_thread(tcp, endpoint)
    await until(lambda: endpoint.listener.waiting == 1)
    async with asyncio.timeout(10):
        await endpoint.listener.cleanup()
    assert endpoint.listener.waiting == 0
    assert await is_closed(waiting)
    held.close()


async def test_a_report_that_is_being_answered_is_answered_before_the_end(start: Start) -> None:
    endpoint = await start(Bounds())
    endpoint.reviewing.clear()
    client = await asyncio.to_thread(tls, endpoint)
    client.sendall(HEAD + BODY)
    await until(lambda: endpoint.reviews == 1)
    ending = asyncio.create_task(endpoint.listener.cleanup())
    await asyncio.sleep(0.1)
    endpoint.reviewing.set()
    assert (await asyncio.to_thread(everything, client)).startswith(b"HTTP/1.1 200 OK")
    await ending


async def test_all_addresses_are_listened_at_with_one_port(tmp_path: Path) -> None:
    async with served(1, tmp_path / "ca.crt", host=None) as endpoint:
        assert {address[1] for address in endpoint.listener.addresses} == {endpoint.port}
        await reports(endpoint)


async def test_an_address_of_another_machine_is_an_error(start: Start) -> None:
    endpoint = await start(Bounds())
    with pytest.raises(OSError, match="assign"):
        await endpoint.listener.start("192.0.2.1", 0)


async def test_a_port_in_use_is_an_error(start: Start) -> None:
    endpoint = await start(Bounds())
    with pytest.raises(OSError, match="in use"):
        await endpoint.listener.start("127.0.0.1", endpoint.port)


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno > logging.INFO]


def tls_buffers() -> int:
    return sum(isinstance(item, SSLProtocol) for item in gc.get_objects())
