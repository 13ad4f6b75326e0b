"""Uploads of a node's log: each under a new key, announced once stored, and never a failure."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.launch.boards import MemoryBoard
from tests.unit.object_store.fence.steps import order
from tests.unit.publishing.file_store import KEYS, FileStore, Outage

from maskrcnn_trainer.launch.log_upload import CLAIM_MESSAGE, NodeLogUploads, log_message
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.object_store.fence.encoding import encode_claim_name
from maskrcnn_trainer.object_store.fence.exchange_types import FenceRequest, PutFiles
from maskrcnn_trainer.object_store.fence.node_logs import LARGEST_LOG, is_nameable_log
from maskrcnn_trainer.object_store.fence.records import ClaimName, NodeLog, StepPointer
from maskrcnn_trainer.object_store.fence.untrusted import parse_node_log

CLAIM = ClaimName(4, "aa")
NAME = "attempt-1.node-3.log"


class LoggingNode:
    """Node 3, whose log is uploaded to a store in memory."""

    def __init__(self, directory: Path) -> None:
        self.store = FileStore()
        self.store.memory.put(KEYS.pointer, StepPointer("aa-0", 1, CLAIM.epoch, order(), CLAIM.token))
        self.board = MemoryBoard()
        self.board.messages[CLAIM_MESSAGE] = encode_claim_name(CLAIM)
        self.kept = KeptLog(directory / NAME, lambda: True)
        self.uploads = NodeLogUploads(self.store, KEYS, 3, NAME)

    def upload(self, *, is_last: bool = False) -> bool:
        return self.uploads.upload(self.kept, self.board, is_last=is_last)

    def announced(self) -> NodeLog:
        return parse_node_log(self.board.messages[log_message(3)], KEYS)

    def content(self) -> bytes:
        return self.store.memory.objects[self.announced().key][0]


@pytest.fixture
def node(tmp_path: Path) -> LoggingNode:
    return LoggingNode(tmp_path)


def test_log_is_uploaded_and_announced_so_that_node_0_names_it(node: LoggingNode) -> None:
    node.kept.write(b"a line\n")
    assert node.upload()
    assert node.content() == b"a line\n"
    assert is_nameable_log(node.announced(), keys=KEYS, claim=CLAIM, node=3, newest=None)


def test_later_log_has_a_new_key(node: LoggingNode) -> None:
    node.kept.write(b"a line\n")
    node.upload()
    first = node.announced()
    node.kept.write(b"another\n")
    assert node.upload()
    assert node.content() == b"a line\nanother\n"
    assert is_nameable_log(node.announced(), keys=KEYS, claim=CLAIM, node=3, newest=first)


def test_log_that_has_not_changed_is_announced_again_but_not_uploaded(node: LoggingNode) -> None:
    node.kept.write(b"a line\n")
    node.upload()
    first = node.announced()
    assert node.upload(is_last=True)
    assert node.announced() == NodeLog(first.key, first.size, first.sha256, is_last=True)
    assert len(node.store.requests(PutFiles)) == 1


def test_upload_is_not_announced_before_it_is_stored(node: LoggingNode) -> None:
    def check(request: FenceRequest) -> None:
        assert log_message(3) not in node.board.messages

    node.store.fail = check
    assert node.upload()


def test_failed_upload_is_not_announced_and_its_key_not_used_again(node: LoggingNode) -> None:
    node.store.lose = Outage(PutFiles)
    assert not node.upload()
    assert log_message(3) not in node.board.messages
    node.store.lose = lambda _: None
    assert node.upload()
    logs = [key for key in node.store.memory.objects if key != KEYS.pointer]
    assert len(logs) == 2


def test_rotated_part_comes_first_and_the_end_of_a_long_log_is_kept(tmp_path: Path, node: LoggingNode) -> None:
    (tmp_path / f"{NAME}.1").write_bytes(b"x" * LARGEST_LOG)
    node.kept.write(b"end\n")
    assert node.upload()
    assert node.announced().size == LARGEST_LOG
    assert node.content().endswith(b"xend\n")


def test_nothing_is_uploaded_before_node_0_has_named_its_claim(node: LoggingNode) -> None:
    claim = node.board.messages.pop(CLAIM_MESSAGE)
    assert not node.upload()
    assert node.store.memory.requests == []
    node.board.messages[CLAIM_MESSAGE] = claim
    assert node.upload()


@pytest.mark.parametrize("claim", [b"{}", b'{"epoch":1,"token":"../x"}'])
def test_forged_claim_is_not_used(node: LoggingNode, claim: bytes) -> None:
    node.board.messages[CLAIM_MESSAGE] = claim
    assert not node.upload()
    assert node.store.memory.requests == []


@pytest.mark.parametrize("claim", [ClaimName(7, "aa"), ClaimName(4, "ff")])
def test_claim_that_is_not_that_of_the_pointer_is_not_used(
    node: LoggingNode, caplog: pytest.LogCaptureFixture, claim: ClaimName
) -> None:
    caplog.set_level("INFO")
    node.board.messages[CLAIM_MESSAGE] = encode_claim_name(claim)
    assert not node.upload()
    assert node.store.requests(PutFiles) == []
    assert f"a claim of epoch {claim.epoch}" in caplog.text


def test_step_without_a_pointer_gets_no_log(node: LoggingNode) -> None:
    del node.store.memory.objects[KEYS.pointer]
    assert not node.upload()
    assert node.store.requests(PutFiles) == []


def test_node_0_that_is_gone_fails_nothing_and_is_logged_once(
    node: LoggingNode, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    node.board.down = True
    assert not node.upload()
    assert not node.upload()
    assert caplog.text.count("isn't kept with the results") == 1
