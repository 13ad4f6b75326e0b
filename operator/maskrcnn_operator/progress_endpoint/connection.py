"""Connection of the report endpoint, between TLS and HTTP, with limits on bytes and time."""

from __future__ import annotations

import asyncio
import socket
import ssl
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from maskrcnn_operator.progress_endpoint.bounds import Bounds, ConnectionPhase, deadline

TLS_SHUTDOWN_SECONDS = 1.0
_HEAD_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """Protocol that passes a client's data to the HTTP protocol, within ``bounds``.

    Args:
        accepted: the client's socket.
        address: the client's address without the port.
        new_handler: returns the HTTP protocol; called when TLS is established.
        on_cut: called if the connection is closed before its response because of a limit.
        on_end: called when the connection is closed.
    """

    def __init__(
        self,
        accepted: socket.socket,
        address: str,
        bounds: Bounds,
        *,
        new_handler: Callable[[], asyncio.Protocol],
        on_cut: Callable[[], None],
        on_end: Callable[[Connection], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.address = address
        self.since = self._accepted = self._loop.time()
        self._socket, self._bounds = accepted, bounds
        self._new_handler, self._on_cut, self._on_end = new_handler, on_cut, on_end
        self._phase = ConnectionPhase.HANDSHAKE
        self._handler: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._received = 0
        self._tail = b""

    @property
    def phase(self) -> ConnectionPhase:
        """Stage of the connection."""
        closing = self._transport is not None and self._transport.is_closing()
        return ConnectionPhase.CLOSING if closing else self._phase

    async def open(self, context: ssl.SSLContext) -> None:
        """Make the TLS handshake; the connection then lives until ``on_end`` is called.

        Raises:
            OSError: the handshake failed; ``on_end`` has been called.
        """
        self.since = self._loop.time()
        self._enter(ConnectionPhase.HANDSHAKE)
        try:
            await self._loop.connect_accepted_socket(
                lambda: self, self._socket, ssl=context, ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS
            )
        except OSError as error:
            # the error's frames hold asyncio's TLS buffer, and one of their futures holds the error: a reference cycle
            # of 256 KiB
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            if self._phase is ConnectionPhase.HANDSHAKE:
                self._socket.close()
                self._end()

    def refuse(self) -> None:
        """Close the connection, because of a limit, before :meth:`open`."""
        self._on_cut()
        self.close()

    def close(self) -> None:
        """Close the connection before :meth:`open`."""
        self._socket.close()

    def cut(self) -> None:
        """Close the connection at once, because of a limit, after :meth:`open` was called."""
        if self.phase is not ConnectionPhase.CLOSING:
            self._on_cut()
        self.abort()

    def abort(self) -> None:
        """Close the connection at once, after :meth:`open` was called."""
        if self._transport is not None:
            self._transport.abort()
        # there is no transport before the handshake is complete, and one that was closed twice ignores abort();
        # shutdown works in all cases
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the HTTP protocol, since TLS is established."""
        self._transport = cast(asyncio.Transport, transport)
        self._enter(ConnectionPhase.HEAD)
        self._handler = self._new_handler()
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass data to the HTTP protocol, up to the limits."""
        if not self._received:
            # empty lines before a request are ignored (RFC 9112, 2.2); two of them look like the end of the headers
            data = data.lstrip(b"\r\n")
        data = data[: self._bounds.total_bytes - self._received]
        if self._phase is ConnectionPhase.HEAD:
            self._read_head(data)
        self._received += len(data)
        if data and self._handler is not None and self.phase is not ConnectionPhase.CLOSING:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end of the client's data to the HTTP protocol."""
        return self._handler.eof_received() if self._handler is not None else None

    def pause_writing(self) -> None:
        """Pass the request to pause to the HTTP protocol."""
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        """Pass the request to resume to the HTTP protocol."""
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """End the HTTP protocol, since the connection is closed."""
        if error is not None:
            error.__traceback__ = None  # its frames hold asyncio's TLS buffer; the handler keeps the error
        if self._handler is not None:
            self._handler.connection_lost(error)
        self._end()

    def _read_head(self, data: bytes) -> None:
        seen = self._tail + data
        found = seen.find(_HEAD_END)
        end = found + len(_HEAD_END) if found >= 0 else len(seen)
        if self._received - len(self._tail) + end > self._bounds.head_bytes:
            self.cut()
        elif found >= 0:
            self._tail = b""
            self._enter(ConnectionPhase.ANSWER)
        else:
            self._tail = seen[1 - len(_HEAD_END) :]

    def _enter(self, phase: ConnectionPhase) -> None:
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline(phase, self._accepted, self._loop.time(), self._bounds), self._expire)

    def _expire(self) -> None:
        self._timer = None
        self.cut()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._on_end(self)
