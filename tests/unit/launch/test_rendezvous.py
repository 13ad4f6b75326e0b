"""Ranks of processes for Horovod, and nodes that wait for each other."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from tests.unit.launch.boards import MemoryBoard

from maskrcnn_trainer.launch import rendezvous
from maskrcnn_trainer.launch.rendezvous import (
    MOST_MESSAGE_BYTES,
    RendezvousBoard,
    RendezvousHost,
    interface_towards,
    join,
    slots_of,
)


def test_ranks_count_node_by_node() -> None:
    first, second = slots_of(1, nodes=3, processes=2)
    assert (first.rank, first.size, first.local_rank, first.local_size) == (2, 6, 0, 2)
    assert (second.rank, second.local_rank, second.cross_rank, second.cross_size) == (3, 1, 1, 3)
    variables = second.environment("train-0", 29500, "eth0")
    assert variables["HOROVOD_RANK"] == "3"
    assert variables["HOROVOD_HOSTNAME"] == "node-1"
    assert variables["HOROVOD_GLOO_RENDEZVOUS_ADDR"] == "train-0"
    assert variables["HOROVOD_GLOO_IFACE"] == "eth0"


@pytest.mark.parametrize(
    ("nodes", "given", "interface"), [(1, None, None), (2, None, "=eth0"), (2, "ib0", None)], ids=str
)
def test_nccl_uses_the_interface_of_the_rendezvous_unless_the_user_names_another(
    monkeypatch: pytest.MonkeyPatch, nodes: int, given: str | None, interface: str | None
) -> None:
    monkeypatch.delenv("NCCL_SOCKET_IFNAME", raising=False)
    if given:
        monkeypatch.setenv("NCCL_SOCKET_IFNAME", given)
    variables = slots_of(0, nodes=nodes, processes=2)[0].environment("train-0", 29500, "eth0")
    assert variables.get("NCCL_SOCKET_IFNAME") == interface


def test_no_node_continues_before_all_have_joined() -> None:
    pytest.importorskip("horovod", reason="Horovod's rendezvous server")
    host = RendezvousHost.start("127.0.0.1", 0, nodes=2, processes=1)
    done: list[int] = []
    tries, tried_again, ended = itertools.count(), threading.Event(), threading.Event()

    def stopping() -> bool:
        # called before each request; a try has at most five
        if next(tries) == 6:
            tried_again.set()
        return ended.is_set()

    def wait_as(rank: int) -> None:
        if join(RendezvousBoard("127.0.0.1", host.port), rank, 2, stopping=stopping, poll=0.02):
            done.append(rank)

    nodes = [threading.Thread(target=wait_as, args=(rank,)) for rank in range(2)]
    try:
        nodes[0].start()
        assert tried_again.wait(10)
        assert done == []
        nodes[1].start()
        for node in nodes:
            node.join(10)
        assert sorted(done) == [0, 1]
    finally:
        ended.set()
        for node in nodes:
            if node.ident is not None:
                node.join(10)
        host.close()


def test_waiting_ends_at_a_stop_request() -> None:
    asked = iter([False, False, True])
    assert not join(RendezvousBoard("127.0.0.1", 1), 1, 2, stopping=lambda: next(asked), poll=0.01)


@pytest.mark.parametrize("is_noticed", [False, True])
def test_node_joins_a_rendezvous_that_was_started_again(*, is_noticed: bool) -> None:
    board = MemoryBoard()
    board.write("0", b"here")
    requests = itertools.count()

    def stopping() -> bool:
        number = next(requests)
        if number == 10:
            board.messages.clear()
            board.down = is_noticed
        if number == 20:
            board.down = False
            board.write("2", b"here")
        if number == 40:
            board.write("0", b"here")
        return number > 80

    assert join(board, 1, 3, stopping=stopping, poll=0)
    assert set(board.messages) == {"0", "1", "2"}


def test_node_is_missing_until_it_joins_a_rendezvous_that_was_started_again() -> None:
    board = MemoryBoard()
    board.write("0", b"here")
    requests = itertools.count()

    def stopping() -> bool:
        number = next(requests)
        if number == 10:
            board.messages.clear()
            board.write("2", b"here")
        return number > 40

    assert not join(board, 1, 3, stopping=stopping, poll=0)


def test_stop_request_ends_the_wait_between_two_requests() -> None:
    class SlowBoard(MemoryBoard):
        reads = 0

        def read(self, name: str) -> bytes | None:
            self.reads += 1
            return super().read(name)

    board = SlowBoard()
    assert not join(board, 1, 100, stopping=lambda: board.reads > 0, poll=0)
    assert board.reads == 1


def test_the_loopback_is_reached_by_its_own_interface() -> None:
    assert interface_towards("127.0.0.1") == "lo"


@pytest.fixture
def board() -> Iterator[RendezvousBoard]:
    """Return the board of a rendezvous of two nodes."""
    pytest.importorskip("horovod", reason="Horovod's rendezvous server")
    host = RendezvousHost.start("127.0.0.1", 0, nodes=2, processes=1)
    yield RendezvousBoard("127.0.0.1", host.port)
    host.close()


def test_later_message_replaces_an_earlier_one_of_its_name(board: RendezvousBoard) -> None:
    for content in (b"first", b"second"):
        board.write("log-1", content)
    assert board.read("log-1") == b"second"


def test_message_that_was_not_written_is_absent(board: RendezvousBoard) -> None:
    assert board.read("log-1") is None


def test_only_the_beginning_of_a_long_message_is_read(board: RendezvousBoard) -> None:
    board.write("log-1", b"x" * 60_000)
    assert board.read("log-1") == b"x" * MOST_MESSAGE_BYTES


def test_node_0_that_can_not_be_reached_is_an_error_of_the_system() -> None:
    board = RendezvousBoard("127.0.0.1", 1)
    with pytest.raises(OSError, match="refused"):
        board.read("log-1")
    with pytest.raises(OSError, match="refused"):
        board.write("log-1", b"")


@pytest.mark.parametrize("host", ["a..b", 70 * "a"])
def test_name_that_is_not_one_of_a_host_is_an_error_of_the_system(host: str) -> None:
    with pytest.raises(OSError, match="isn't a host name"):
        RendezvousBoard(host, 1).read("log-1")


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[RendezvousBoard]:
    """Yield the board of a server that answers one request."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(1000)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield RendezvousBoard("127.0.0.1", server.getsockname()[1])
        thread.join()


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-x\r\n",
        b"",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\ncut off",
        b"HTTP/1.0 200 OK\r\n\r\nof unknown length",
        b"HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_answer_of_another_program_is_an_error_of_the_system(content: bytes) -> None:
    with (
        answering(lambda connection: connection.sendall(content)) as board,
        pytest.raises(OSError, match="isn't one of a rendezvous|reset by peer"),
    ):
        board.read("log-1")


@pytest.mark.parametrize("first", [b"HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n", b""])
def test_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    assert rendezvous.SECONDS_FOR_REQUEST == 5.0
    monkeypatch.setattr(rendezvous, "SECONDS_FOR_REQUEST", 0.2)
    given_up = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(first)
        deadline = time.monotonic() + 30
        while not given_up.wait(0.02) and time.monotonic() < deadline:
            connection.sendall(b"x")

    with answering(drip) as board:
        with pytest.raises(TimeoutError):
            board.read("log-1")
        given_up.set()


def test_answer_ends_with_its_length_if_the_connection_stays_open() -> None:
    has_read = threading.Event()

    def stay(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nfirst")
        has_read.wait(30)

    with answering(stay) as board:
        assert board.read("log-1") == b"first"
        has_read.set()


def test_answer_that_comes_in_pieces_is_read_whole() -> None:
    def send(connection: socket.socket) -> None:
        for piece in (b"HTTP/1.0 200 OK\r\nConte", b"nt-Length: 10\r\n\r", b"\nfirst", b" part"):
            connection.sendall(piece)
            time.sleep(0.02)

    with answering(send) as board:
        assert board.read("log-1") == b"first part"


@pytest.mark.parametrize("status", [404, 413])
def test_message_that_is_refused_is_an_error_of_the_system(status: int) -> None:
    content = f"HTTP/1.0 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    with (
        answering(lambda connection: connection.sendall(content)) as board,
        pytest.raises(OSError, match=f"has refused log-1: {status}"),
    ):
        board.write("log-1", b"")
