"""Ranks of processes for Horovod, and nodes that wait for each other."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

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
        # called before each try
        if next(tries) == 2:
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
    board.write("log-1", b"x" * 100_000)
    assert board.read("log-1") == b"x" * MOST_MESSAGE_BYTES


def test_node_0_that_can_not_be_reached_is_an_error_of_the_system() -> None:
    board = RendezvousBoard("127.0.0.1", 1)
    with pytest.raises(OSError, match="refused"):
        board.read("log-1")
    with pytest.raises(OSError, match="refused"):
        board.write("log-1", b"")


def test_answer_of_another_program_is_an_error_of_the_system() -> None:
    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"SSH-2.0-x\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OSError, match="isn't one of a rendezvous"):
            RendezvousBoard("127.0.0.1", server.getsockname()[1]).read("log-1")
        thread.join()
