"""Relay between a port of this machine and an address in a cluster's network.

    relay.py [NETNS/]HOST:PORT [NETNS/]HOST:PORT

It listens on the first address and connects to the second. An address without a network namespace is this machine's, so
that this machine's routes and rules aren't changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000
OWN_NETWORK = "/proc/self/ns/net"


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction of a connection until it ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            writer.close()


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Relay all connections."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    async with await asyncio.start_server(connected, sock=listener) as server:
        await server.serve_forever()


def enter(namespace: str) -> None:
    """Move this process to a network namespace; sockets that it has stay in theirs."""
    handle = os.open(namespace, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    os.close(handle)


def place(text: str) -> tuple[str, str, int]:
    """Return network namespace, host, and port of an address."""
    namespace, _, address = text.rpartition("/")
    host, _, port = address.rpartition(":")
    return namespace, host, int(port)


def main() -> None:
    """Listen in one network, and connect in the other."""
    (there, address, port), (namespace, host, number) = map(place, sys.argv[1:])
    # kept open: after setns its path would name the other network
    own = os.open(OWN_NETWORK, os.O_RDONLY)
    enter(there or f"/proc/self/fd/{own}")
    listener = socket.create_server((address, port), backlog=128)
    enter(namespace or f"/proc/self/fd/{own}")
    asyncio.run(serve(listener, host, number))


if __name__ == "__main__":
    main()
