"""HTTP server without TLS for probes and scrapes, which bounds the number and the duration of connections.

Any pod in the cluster may connect. A connection takes about 13 KiB and a file descriptor. At the limit, the oldest
connection of the address that has the most is closed for a new one. Thus probes are answered even if another client
opens as many connections as it can.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from aiohttp import web

MOST_CONNECTIONS = 64
"""Open at a time; a kubelet opens a few, a Prometheus server one."""
MOST_SECONDS = 20.0
"""From opening a connection to closing it; by default, Prometheus aborts a scrape after 10 s."""
SHUTDOWN_SECONDS = 2.0


class PlainServer:
    """Server of an application, from :meth:`start` to :meth:`cleanup`.

    Args:
        application: answers the requests.
        most_connections: maximum number of open connections.
        most_seconds: maximum duration of a connection.
    """

    def __init__(
        self,
        application: web.Application,
        *,
        most_connections: int = MOST_CONNECTIONS,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        self._runner = web.AppRunner(application, shutdown_timeout=SHUTDOWN_SECONDS)
        self._most_connections, self._most_seconds = most_connections, most_seconds
        self._server: asyncio.Server | None = None
        self._open: dict[_Handler, tuple[str, asyncio.Transport, asyncio.TimerHandle]] = {}
        """Address, transport, and timer that closes the connection; the oldest first."""

    @property
    def addresses(self) -> list[Any]:
        """Return the addresses that the server listens on, as ``socket.getsockname`` returns them."""
        return [listening.getsockname() for listening in self._server.sockets] if self._server is not None else []

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._open)

    async def start(self, host: str | None, port: int) -> None:
        """Listen on ``port`` (0: any free one) of ``host``, or of all addresses if it is None.

        Raises:
            OSError: the address isn't one of this machine's, or it is in use.
        """
        await self._runner.setup()
        manager, loop = self._runner.server, asyncio.get_running_loop()
        if manager is None:
            raise RuntimeError("the application has not been set up")
        try:
            self._server = await loop.create_server(lambda: _Handler(self, manager, loop), host, port)
        except OSError:
            await self._runner.cleanup()
            raise

    async def cleanup(self) -> None:
        """Stop accepting connections, wait for pending requests, and close all connections."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        for _, transport, timer in list(self._open.values()):
            timer.cancel()
            transport.abort()

    def opened(self, handler: _Handler, transport: asyncio.Transport) -> None:
        """Register a connection, and close another one if there are too many."""
        if len(self._open) >= self._most_connections:
            self._cut(self._one_to_cut())
        address = (transport.get_extra_info("peername") or ("",))[0]
        timer = asyncio.get_running_loop().call_later(self._most_seconds, self._cut, handler)
        self._open[handler] = address, transport, timer

    def closed(self, handler: _Handler) -> None:
        """Remove a connection that has ended."""
        known = self._open.pop(handler, None)
        if known is not None:
            known[2].cancel()

    def _one_to_cut(self) -> _Handler:
        shares = Counter(address for address, _, _ in self._open.values())
        return max(self._open, key=lambda handler: shares[self._open[handler][0]])

    def _cut(self, handler: _Handler) -> None:
        known = self._open.get(handler)
        self.closed(handler)
        if known is not None:
            known[1].abort()


class _Handler(web.RequestHandler):
    """Protocol of aiohttp that registers its connection with the server."""

    __slots__ = ("_plain",)

    def __init__(self, plain: PlainServer, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        # a client that keeps its connection alive would take the place of another one
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None disables it, see the documentation of AppRunner
            keepalive_timeout=0.0,
        )
        self._plain = plain

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._plain.opened(self, cast(asyncio.Transport, transport))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._plain.closed(self)
        super().connection_lost(exc)
