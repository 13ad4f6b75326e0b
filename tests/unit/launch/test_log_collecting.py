"""Logs that node 0 names: those announced by other nodes and acceptable, and the last ones if they come in time."""

from __future__ import annotations

import threading
import time

import pytest
from tests.unit.launch.boards import MemoryBoard
from tests.unit.publishing.file_store import KEYS

from maskrcnn_trainer.launch.log_collecting import CollectedLogs
from maskrcnn_trainer.launch.log_upload import CLAIM_MESSAGE, log_message
from maskrcnn_trainer.object_store.fence.encoding import encode_node_log
from maskrcnn_trainer.object_store.fence.keys import NUMBERS_PER_NODE
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog, PublishedFile
from maskrcnn_trainer.object_store.fence.untrusted import parse_claim_name

CLAIM = ClaimName(4, "aa")
SHA = "0" * 64


def log_of(node: int, number: int = 0, *, epoch: int = 4, is_last: bool = False) -> NodeLog:
    key = KEYS.written_once(epoch, "aa", node * NUMBERS_PER_NODE + number, "s-log")
    return NodeLog(key, 7, SHA, is_last)


def collected(nodes: int = 2, *, seconds: float = 0.0, hurried: bool = False) -> CollectedLogs:
    return CollectedLogs(KEYS, CLAIM, 5, nodes, hurried=lambda: hurried, seconds=seconds)


@pytest.fixture
def board() -> MemoryBoard:
    return MemoryBoard()


def announce(board: MemoryBoard, node: int, log: NodeLog) -> None:
    board.write(log_message(node), encode_node_log(log))


def test_claim_is_named_to_the_other_nodes(board: MemoryBoard) -> None:
    with collected().joined(board):
        assert parse_claim_name(board.messages[CLAIM_MESSAGE]) == CLAIM


def test_newest_log_of_each_node_is_named(board: MemoryBoard) -> None:
    logs = collected(3)
    with logs.joined(board):
        assert logs.files() == ()
        announce(board, 1, log_of(1))
        announce(board, 2, log_of(2))
        logs.files()
        announce(board, 2, log_of(2, 9))
        assert logs.files() == (
            PublishedFile("logs/attempt-5.node-1.log", log_of(1).key, 7, SHA),
            PublishedFile("logs/attempt-5.node-2.log", log_of(2, 9).key, 7, SHA),
        )


@pytest.mark.parametrize(
    "content",
    [
        b"nothing of the kind",
        encode_node_log(log_of(2)),
        encode_node_log(log_of(0)),
        encode_node_log(log_of(1, epoch=3)),
        encode_node_log(NodeLog(log_of(1).key, 2**40, SHA)),
        encode_node_log(NodeLog("exp/train/run.json", 7, SHA)),
    ],
    ids=["no JSON", "another node's", "node 0's", "earlier claim", "too large", "pointer"],
)
def test_announcement_that_can_not_be_right_is_left_out_and_logged_once(
    board: MemoryBoard, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    logs = collected()
    board.write(log_message(1), content)
    with logs.joined(board):
        assert logs.files() == ()
        assert logs.files() == ()
    assert caplog.text.count("The log of node 1 isn't published") == 1


def test_log_with_a_lower_number_does_not_replace_the_newest(board: MemoryBoard) -> None:
    logs = collected()
    with logs.joined(board):
        announce(board, 1, log_of(1, 5))
        logs.files()
        announce(board, 1, log_of(1, 4))
        assert [file.key for file in logs.files()] == [log_of(1, 5).key]


def test_last_logs_are_awaited_and_named_after_the_rendezvous(board: MemoryBoard) -> None:
    logs = collected(3, seconds=30.0)
    announce(board, 1, log_of(1, is_last=True))
    timer = threading.Timer(0.3, lambda: announce(board, 2, log_of(2, is_last=True)))
    begin = time.monotonic()
    with logs.joined(board):
        timer.start()
    timer.join()
    assert time.monotonic() - begin < 25
    board.down = True
    assert [file.key for file in logs.files()] == [log_of(1).key, log_of(2).key]


def test_node_that_announces_no_last_log_is_awaited_for_a_limited_time(board: MemoryBoard) -> None:
    logs = collected(3, seconds=0.3)
    begin = time.monotonic()
    with logs.joined(board):
        announce(board, 1, log_of(1))
    assert time.monotonic() - begin >= 0.3
    assert [file.key for file in logs.files()] == [log_of(1).key]


def test_hurry_waits_for_no_log(board: MemoryBoard) -> None:
    begin = time.monotonic()
    with collected(seconds=30.0, hurried=True).joined(board):
        pass
    assert time.monotonic() - begin < 25


def test_failed_start_waits_for_no_log(board: MemoryBoard) -> None:
    begin = time.monotonic()
    with pytest.raises(OSError, match="no such program"), collected(seconds=30.0).joined(board):
        raise OSError("no such program")
    assert time.monotonic() - begin < 25


def test_rendezvous_that_fails_leaves_the_logs_out(board: MemoryBoard) -> None:
    board.down = True
    logs = collected()
    with logs.joined(board):
        assert logs.files() == ()


def test_files_without_a_rendezvous_are_none() -> None:
    assert collected().files() == ()


def test_logs_of_the_attempts_before_stay_named_up_to_the_last_ten(board: MemoryBoard) -> None:
    old, kept, again = (PublishedFile(f"logs/attempt-{attempt}.node-1.log", f"key {attempt}", 1, SHA)
                        for attempt in (2, 3, 12))  # fmt: skip
    logs = CollectedLogs(KEYS, CLAIM, 12, 2, before=(old, kept, again), seconds=0.0)
    assert logs.files() == (again, kept)
    with logs.joined(board):
        announce(board, 1, log_of(1))
        assert [file.key for file in logs.files()] == [log_of(1).key, "key 3"]
