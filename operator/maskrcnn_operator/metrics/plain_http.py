"""HTTP without TLS, for probes and scrapes: few connections, each for a short time, whatever clients do.

Any pod in the cluster may connect here. A connection takes some 13 KiB and a file descriptor, so the oldest connection
of the address that has the most is cut for a new one: a probe is answered while another client holds all it can.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

from aiohttp import web

MOST_CONNECTIONS = 64
"""A kubelet has a few at a time, a Prometheus server one."""
MOST_SECONDS = 20.0
"""From the start of a connection to its end, the answer included; a scrape is given up after 10 s by default."""
SHUTDOWN_SECONDS = 2.0


class PlainServer:
    """Serves an application until :meth:`cleanup`.

    Args:
        most_connections: that are open at a time.
        most_seconds: that each may be open.
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
        """The oldest first: address, transport, and what cuts it."""

    @property
    def addresses(self) -> list[Any]:
        """Addresses listened at, as ``socket.getsockname`` returns them."""
        return [listening.getsockname() for listening in self._server.sockets] if self._server is not None else []

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._open)

    async def start(self, host: str | None, port: int) -> None:
        """Listen at ``port`` (0: any free one) of ``host``, or of all addresses if it is None.

        Raises:
            OSError: the address isn't one of this machine, or is in use.
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
        """Stop accepting, wait for the requests that are being answered, and close every connection."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        for _, transport, timer in list(self._open.values()):
            timer.cancel()
            transport.abort()

    def opened(self, handler: _Handler, transport: asyncio.Transport) -> None:
        """Take a connection in, and cut another one where there are too many."""
        if len(self._open) >= self._most_connections:
            self._cut(self._one_to_cut())
        address = (transport.get_extra_info("peername") or ("",))[0]
        timer = asyncio.get_running_loop().call_later(self._most_seconds, self._cut, handler)
        self._open[handler] = address, transport, timer

    def closed(self, handler: _Handler) -> None:
        """Forget a connection that has ended."""
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
    """aiohttp's protocol; it tells when its connection begins and ends."""

    __slots__ = ("_plain",)

    def __init__(self, plain: PlainServer, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        # a client that keeps its connection would take another's place
        super().__init__(
            manager,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # None turns it off, as the documentation of AppRunner has it
            keepalive_timeout=0.0,
        )
        self._plain = plain

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._plain.opened(self, cast(asyncio.Transport, transport))

    def connection_lost(self, exc: BaseException | None) -> None:
        self._plain.closed(self)
        super().connection_lost(exc)
