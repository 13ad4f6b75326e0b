"""Probes and scrapes while other clients connect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from maskrcnn_operator.metrics import server as metrics_server
from maskrcnn_operator.metrics.plain_http import MOST_CONNECTIONS, PlainServer
from maskrcnn_operator.runtime import health as health_server
from maskrcnn_operator.runtime.health import Health

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HEAD = b"GET / HTTP/1.1\r\nHost: operator\r\n"


async def connect(served: PlainServer, local: str = "127.0.0.1") -> Opened:
    """Open a connection and send an incomplete request."""
    opened = await asyncio.open_connection("127.0.0.1", served.addresses[0][1], local_addr=(local, 0))
    opened[1].write(HEAD)
    await opened[1].drain()
    return opened


async def is_cut(opened: Opened, seconds: float = 0.2) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await opened[0].read() == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


async def status(served: PlainServer, path: str = "/") -> int:
    url = f"http://127.0.0.1:{served.addresses[0][1]}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


async def answer(_: web.Request) -> web.Response:
    return web.Response(text="ok")


@pytest.fixture
async def served() -> AsyncIterator[PlainServer]:
    application = web.Application()
    application.router.add_get("/", answer)
    plain = PlainServer(application, most_connections=4, most_seconds=1.0)
    await plain.start("127.0.0.1", 0)
    yield plain
    await plain.cleanup()


async def test_request_is_answered_while_another_client_holds_all_connections(served: PlainServer) -> None:
    held = [await connect(served) for _ in range(4)]
    assert await status(served) == 200
    assert [await is_cut(opened) for opened in held] == [True, False, False, False]


async def test_the_address_with_the_most_connections_loses_one(served: PlainServer) -> None:
    first = await connect(served, "127.0.0.2")
    held = [await connect(served) for _ in range(3)]
    await connect(served, "127.0.0.3")
    assert not await is_cut(first)
    assert await is_cut(held[0])


async def test_connection_is_closed_after_its_maximum_duration(served: PlainServer) -> None:
    opened = await connect(served)
    assert await is_cut(opened, 5.0)
    assert served.connections == 0


async def test_an_answered_connection_is_closed(served: PlainServer) -> None:
    reader, writer = await connect(served)
    writer.write(b"\r\n")
    async with asyncio.timeout(0.8):
        assert b"200 OK" in await reader.read()
    await asyncio.sleep(0.01)
    assert served.connections == 0


async def test_cleanup_closes_open_connections(served: PlainServer) -> None:
    opened = await connect(served)
    await served.cleanup()
    assert await is_cut(opened)


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_idle_connections_leave_room_for_probes_and_scrapes(path: str) -> None:
    if path == "/metrics":
        plain = await metrics_server.serve(0, host="127.0.0.1")
    else:
        plain = await health_server.serve(Health(lambda: True, list), 0, "127.0.0.1")
    try:
        held = [await connect(plain) for _ in range(MOST_CONNECTIONS + 20)]
        assert await status(plain, path) == 200
        assert sum(await asyncio.gather(*map(is_cut, held))) == 21
    finally:
        await plain.cleanup()
