"""Rendezvous of the processes of a worker group: Horovod's key-value store, hosted by node 0.

Horovod's C++ client tries to reach the store for 1.5 seconds and then aborts the process, so ``hvd.init()`` must not be
called before every node is up: each node puts its rank into the store and waits for all the others.
"""

from __future__ import annotations

import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskrcnn_trainer.launch.rendezvous_server import LimitedRendezvousServer

log = logging.getLogger(__name__)

SCOPE = "maskrcnn-launch"
RENDEZVOUS_VARIABLE = "HOROVOD_GLOO_RENDEZVOUS_ADDR"
NCCL_INTERFACE_VARIABLE = "NCCL_SOCKET_IFNAME"
SECONDS_BETWEEN_LINES = 30.0
MOST_MESSAGE_BYTES = 8192
"""Most bytes of a message that are read."""
SECONDS_FOR_REQUEST = 5.0
"""Longest time of a request to one address of node 0, however slowly the bytes of its answer arrive."""


@dataclass(frozen=True)
class Slot:
    """Process of the worker group, in Horovod's terms."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int

    def environment(self, host: str, port: int, interface: str) -> dict[str, str]:
        """Return the environment variables that ``hvd.init()`` reads, and on several nodes NCCL's interface.

        NCCL chooses an interface by itself, which may be another one if a pod has several. A user's choice stays.
        """
        found = {
            "HOROVOD_RANK": str(self.rank),
            "HOROVOD_SIZE": str(self.size),
            "HOROVOD_LOCAL_RANK": str(self.local_rank),
            "HOROVOD_LOCAL_SIZE": str(self.local_size),
            "HOROVOD_CROSS_RANK": str(self.cross_rank),
            "HOROVOD_CROSS_SIZE": str(self.cross_size),
            "HOROVOD_HOSTNAME": node_name(self.cross_rank),
            RENDEZVOUS_VARIABLE: host,
            "HOROVOD_GLOO_RENDEZVOUS_PORT": str(port),
            "HOROVOD_CONTROLLER": "gloo",
            "HOROVOD_CPU_OPERATIONS": "gloo",
            "HOROVOD_GLOO_IFACE": interface,
            "HOROVOD_GLOO_TIMEOUT_SECONDS": "300",
        }
        if self.cross_size > 1 and NCCL_INTERFACE_VARIABLE not in os.environ:
            # = is for exactly this name; without it, NCCL takes every interface whose name begins with it
            found[NCCL_INTERFACE_VARIABLE] = f"={interface}"
        return found


def slots_of(node_rank: int, nodes: int, processes: int) -> list[Slot]:
    """Return the processes of one node; ranks are consecutive on each node."""
    return [
        Slot(node_rank * processes + local, nodes * processes, local, processes, node_rank, nodes)
        for local in range(processes)
    ]


def node_name(rank: int) -> str:
    """Return the name of a node for Horovod."""
    return f"node-{rank}"


class RendezvousHost:
    """Rendezvous server of Horovod, in a thread of this process."""

    def __init__(self, server: LimitedRendezvousServer) -> None:
        """Store a server that is serving."""
        self._server = server
        self.port: int = server.server_address[1]

    @classmethod
    def start(cls, address: str, port: int, nodes: int, processes: int) -> RendezvousHost:
        """Start the server.

        Args:
            address: to listen on.
            port: 0 for any free port.
            nodes: number of nodes.
            processes: number of processes on each node.

        Raises:
            OSError: this process cannot listen on the port.
        """
        from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts

        from maskrcnn_trainer.launch.rendezvous_server import LimitedRendezvousServer

        hosts = ",".join(f"{node_name(rank)}:{processes}" for rank in range(nodes))
        server = LimitedRendezvousServer((address, port), nodes * processes)
        server.init(get_host_assignments(parse_hosts(hosts), nodes * processes))
        threading.Thread(target=server.serve_forever, name="rendezvous", daemon=True).start()
        return cls(server)

    def close(self) -> None:
        """Stop the server and release its port, without waiting for requests that are under way."""
        self._server.shutdown()
        self._server.server_close()


class RendezvousBoard:
    """Messages of nodes at the rendezvous, by name; a later message replaces an earlier one of its name.

    Any process that reaches the port can write and read them.

    Args:
        host: name or address of node 0; it may not resolve yet.
        port: port of the rendezvous.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def write(self, name: str, content: bytes) -> None:
        """Write a message.

        Raises:
            OSError: node 0 can't be reached.
        """
        self._request(name, content)

    def read(self, name: str) -> bytes | None:
        """Return at most ``MOST_MESSAGE_BYTES`` of a message; None if it wasn't written.

        Raises:
            OSError: node 0 can't be reached.
        """
        return self._request(name)

    def _request(self, name: str, content: bytes | None = None) -> bytes | None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS_FOR_REQUEST)
        try:
            connection.connect()
            with _cut_off(connection.sock, SECONDS_FOR_REQUEST):
                connection.request("GET" if content is None else "PUT", f"/{SCOPE}/{name}", content)
                answer = connection.getresponse()
                received = answer.read(MOST_MESSAGE_BYTES)
        except UnicodeError as error:
            raise ConnectionError(f"{self.host!r} isn't a host name") from error
        except http.client.HTTPException as error:
            raise ConnectionError("the answer isn't one of a rendezvous") from error
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND and content is None:
            return None
        if answer.status != http.HTTPStatus.OK:
            raise ConnectionError(f"the rendezvous at {self.host}:{self.port} has refused {name}: {answer.status}")
        if answer.length is None or (answer.length and len(received) < MOST_MESSAGE_BYTES):
            raise ConnectionError("the answer isn't one of a rendezvous: it isn't whole")
        return received


@contextmanager
def _cut_off(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Disconnect after a time: the timeout of a socket begins again with every byte that arrives.

    Raises:
        TimeoutError: the time has passed.
    """
    is_cut_off = threading.Event()

    def disconnect() -> None:
        is_cut_off.set()
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, disconnect)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if is_cut_off.is_set():
            raise TimeoutError(f"node 0 hasn't answered within {seconds:.0f} s")


def join(
    board: RendezvousBoard, node_rank: int, nodes: int, *, stopping: Callable[[], bool], poll: float = 0.5
) -> bool:
    """Announce this node at the rendezvous and wait for all the others, without a time limit.

    A node must be ready to start its processes: once all have joined, the processes wait for each other for five
    minutes only. So its inputs are staged before, and ``stopping`` doesn't block.

    A rendezvous that was started again has lost all announcements. So this node announces itself with each try, and
    all the others must be there in one try.

    Args:
        board: of the rendezvous.
        node_rank: rank of this node.
        nodes: number of nodes.
        stopping: returns whether to stop waiting; called before each request.
        poll: seconds between two tries.

    Returns:
        True once all nodes are up, False if stopped before.
    """
    everyone = frozenset(range(nodes))
    missing, next_line = everyone, time.monotonic() + SECONDS_BETWEEN_LINES
    while not stopping():
        try:
            board.write(str(node_rank), b"here")
            missing = _absent(board, missing, stopping)
            if not missing:
                missing = _absent(board, everyone, stopping)
            if not missing:
                return True
            reason: object = f"missing: {', '.join(node_name(rank) for rank in sorted(missing))}"
        except OSError as error:
            missing, reason = everyone, error
        if time.monotonic() >= next_line:
            log.info("Waiting for the other nodes at %s:%d (%s)", board.host, board.port, reason)
            next_line = time.monotonic() + SECONDS_BETWEEN_LINES
        time.sleep(poll)
    return False


def _absent(board: RendezvousBoard, ranks: Iterable[int], stopping: Callable[[], bool]) -> frozenset[int]:
    """Return the nodes that haven't announced themselves; those that weren't looked for before a stop count, too."""
    return frozenset(rank for rank in ranks if stopping() or board.read(str(rank)) is None)


def interface_towards(host: str) -> str:
    """Return the network interface with the route to ``host`` (``lo`` for this machine)."""
    import psutil

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # connecting a datagram socket sends nothing; the kernel only chooses the source address of the route
        probe.connect((host, 9))
        address = probe.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(entry.family == socket.AF_INET and entry.address == address for entry in addresses):
            return str(name)
    return "lo"
