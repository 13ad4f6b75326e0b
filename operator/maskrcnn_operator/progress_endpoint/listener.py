"""TLS listener of the report endpoint, with a bounded number of connections.

Sockets are accepted here because asyncio's server allocates a TLS buffer of 256 KiB for every client that connects. An
accepted socket waits without TLS until it can be opened, which slows down clients that connect faster than they are
served.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from maskrcnn_operator.cluster.rate_limit import RateLimit
from maskrcnn_operator.progress_endpoint.bounds import Bounds, connection_to_refuse, next_turn
from maskrcnn_operator.progress_endpoint.connection import Connection

log = logging.getLogger(__name__)

BACKLOG = 64
RECEIVE_BUFFER_BYTES = 32 * 1024
"""Receive buffer in the kernel for each connection, accepted or not; the default grows to 6 MiB."""
ACCEPT_RETRY_SECONDS = 0.1
WARNING_SECONDS = 60.0


class BoundedListener:
    """Listener that accepts connections for an application, and closes some of them to stay within ``bounds``.

    Args:
        new_handler: returns the HTTP protocol of one connection.
        end_handlers: waits for requests in progress, and closes their connections.
        context: TLS context of new connections.
        bounds: limits on the connections.
        on_cut: called for every connection that is closed before its response because of a limit.
    """

    def __init__(
        self,
        new_handler: Callable[[], asyncio.Protocol],
        end_handlers: Callable[[], Awaitable[None]],
        context: ssl.SSLContext,
        bounds: Bounds,
        on_cut: Callable[[], None],
    ) -> None:
        self._new_handler, self._end_handlers = new_handler, end_handlers
        self._context, self._bounds, self._on_cut = context, bounds, on_cut
        self._sockets: list[socket.socket] = []
        self._waiting: list[Connection] = []
        self._arrived = asyncio.Event()
        self._held: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._next_warning = 0.0

    @property
    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """Tasks that accept connections, one for each address, and the task that opens them; none before :meth:`start`.

        If any of them ends, reports are lost, so the caller supervises all. Only :meth:`cleanup` ends them.
        """
        return tuple(self._tasks)

    @property
    def addresses(self) -> list[Any]:
        """Addresses of the listening sockets, as returned by ``socket.getsockname``."""
        return [listening.getsockname() for listening in self._sockets]

    @property
    def connections(self) -> int:
        """Number of open connections, including TLS handshakes."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Number of accepted connections that are not open yet."""
        return len(self._waiting)

    async def start(self, host: str | None, port: int) -> None:
        """Listen on ``port`` (0: any free port) of ``host``, or of all addresses if it is None.

        Raises:
            OSError: the address does not belong to this machine, or is in use.
        """
        self._sockets = await _listen(host, port)
        for listening in self._sockets:
            address = listening.getsockname()[0]
            self._tasks.append(asyncio.create_task(self._accept(listening), name=f"accepting reports at {address}"))
        self._tasks.append(asyncio.create_task(self._open_in_turn(), name="opening reports"))

    async def cleanup(self) -> None:
        """Stop accepting, wait for reports in progress, and close all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._sockets:
            self._sockets.pop().close()
        while self._waiting:
            self._waiting.pop().close()
        await self._end_handlers()
        for connection in list(self._held):
            connection.abort()
        while self._held or self._opening:
            await asyncio.sleep(0.01)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    self._warn("The report endpoint cannot accept connections, retrying: %s", error)
                await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                continue
            self._waiting.append(
                Connection(
                    accepted, peer[0], self._bounds,
                    new_handler=self._new_handler, on_cut=self._on_cut, on_end=self._held.discard,
                )
            )  # fmt: skip
            self._arrived.set()
            refused = connection_to_refuse(self._waiting, self._bounds)
            if refused is not None:
                self._warn("The report endpoint is full, closing a waiting connection from %s", refused.address)
                self._waiting.remove(refused)
                refused.refuse()
            # while clients connect, sock_accept returns at once: yield to the other tasks
            await asyncio.sleep(0)

    async def _open_in_turn(self) -> None:
        loop = asyncio.get_running_loop()
        rate = RateLimit(1.0 / self._bounds.openings_per_second, self._bounds.connections, loop.time)
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                turn = next_turn(self._waiting, self._held, loop.time(), self._bounds)
                if turn is None:
                    await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                    continue
                if turn.cut is not None:
                    self._warn("The report endpoint is full, closing an open connection from %s", turn.cut.address)
                    self._held.remove(turn.cut)
                    turn.cut.cut()
                self._waiting.remove(turn.newcomer)
                self._held.add(turn.newcomer)
                opening = asyncio.create_task(self._open(turn.newcomer))
                self._opening.add(opening)
                opening.add_done_callback(self._opening.discard)
                # the connection that was cut is closed in the meantime, too
                while (wait := rate.wait("")) > 0:
                    await asyncio.sleep(wait)
                await asyncio.sleep(0)

    async def _open(self, connection: Connection) -> None:
        try:
            await connection.open(self._context)
        except OSError as error:
            log.debug("TLS handshake with %s failed: %s", connection.address, error)
        except Exception:
            log.exception("Could not open a connection from %s", connection.address)

    def _warn(self, message: str, *values: object) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_warning:
            self._next_warning = now + WARNING_SECONDS
            log.warning(message, *values)


async def _listen(host: str | None, port: int) -> list[socket.socket]:
    """Return listening sockets on the same port, one for each address of ``host`` that this machine has."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            at = sockets[0].getsockname()[1] if sockets else port
            try:
                listening = socket.create_server((address[0], at, *address[2:]), family=family, backlog=BACKLOG)
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = error  # for example, IPv6 is turned off in the kernel
                continue
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            listening.setblocking(False)
        if missing is not None and not sockets:
            raise missing
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets
