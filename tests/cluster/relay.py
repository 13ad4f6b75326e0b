"""Relay from a loopback port of this machine to an address in a cluster's network.

    relay.py PORT NETNS HOST:PORT

It listens on the loopback and connects from inside the network namespace, so that this machine's routes and rules
aren't changed. The listening socket is created before the process enters the namespace, all others after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000


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


def main() -> None:
    """Listen, enter the network namespace, and relay."""
    port, namespace, target = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    handle = os.open(namespace, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    host, _, number = target.rpartition(":")
    asyncio.run(serve(listener, host, int(number)))


if __name__ == "__main__":
    main()
