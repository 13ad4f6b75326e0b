"""Other nodes of a group with results in a store: they start no process for a step that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.launch.stored_launches import StartedTask, StoredLaunches
from tests.unit.publishing.file_store import FINGERPRINT, KEYS, FileStore, claimed

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.launch.following import SECONDS_BETWEEN_DONE_CHECKS, follow
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.object_store.fence.exchange_types import FenceRequest, GetRecord


class OtherNode:
    """Node 1, with a clock of its own, whose looks into the store are counted."""

    def __init__(self, directory: Path, store: FileStore) -> None:
        self.log_path = directory / "logs" / "attempt-1.node-1.log"
        self.store = store
        self.now = 100.0
        self.looks = 0

    @contextmanager
    def open_store(self) -> Iterator[FileStore]:
        self.looks += 1
        yield self.store

    def follow(self, run: Callable[[KeptLog, Callable[[], None]], int]) -> int:
        return follow(KEYS, FINGERPRINT, self.open_store, run, log_path=self.log_path, clock=lambda: self.now)


@pytest.fixture
def launches(tmp_path: Path) -> StoredLaunches:
    return StoredLaunches(tmp_path)


@pytest.fixture
def node(tmp_path: Path, launches: StoredLaunches) -> OtherNode:
    return OtherNode(tmp_path, launches.store)


def finish(task: StartedTask) -> int:
    task.write_result()
    return 0


def test_step_that_is_done_starts_no_process(node: OtherNode, launches: StoredLaunches) -> None:
    launches.launch(finish)
    assert node.follow(lambda *_: 7) == 0


def test_step_that_is_not_done_runs(node: OtherNode) -> None:
    claimed(node.store)
    assert node.follow(lambda *_: 7) == 7


def test_wait_ends_once_the_step_is_done(node: OtherNode, launches: StoredLaunches) -> None:
    def run(_kept: KeptLog, while_waiting: Callable[[], None]) -> int:
        while_waiting()
        launches.launch(finish)
        while_waiting()
        node.now += SECONDS_BETWEEN_DONE_CHECKS
        while_waiting()
        raise AssertionError("it waits for node 0, which has ended")

    assert node.follow(run) == 0


def test_store_is_not_asked_at_each_try_of_the_wait(node: OtherNode) -> None:
    def run(_kept: KeptLog, while_waiting: Callable[[], None]) -> int:
        for _ in range(10):
            while_waiting()
            node.now += SECONDS_BETWEEN_DONE_CHECKS / 5
        return 0

    assert node.follow(run) == 0
    assert node.looks == 2


def test_failing_store_does_not_end_the_wait(node: OtherNode) -> None:
    def down(_: FenceRequest) -> None:
        raise TryAgain("the store is down")

    def run(_kept: KeptLog, while_waiting: Callable[[], None]) -> int:
        node.store.fail = down
        node.now += SECONDS_BETWEEN_DONE_CHECKS
        while_waiting()
        return 7

    assert node.follow(run) == 7
    assert node.looks == 2


def test_damaged_store_is_refused(node: OtherNode, launches: StoredLaunches) -> None:
    launches.launch(finish)
    slot = node.store.pointer().current
    assert slot is not None
    del node.store.memory.objects[slot.manifest]
    with pytest.raises(InvalidInput):
        node.follow(lambda *_: 7)


def test_looks_only_read(node: OtherNode) -> None:
    claimed(node.store)
    before = len(node.store.memory.requests)
    node.follow(lambda *_: 0)
    assert {type(request) for request in node.store.memory.requests[before:]} == {GetRecord}


def test_log_is_kept_on_the_node(node: OtherNode) -> None:
    def run(kept: KeptLog, _while_waiting: Callable[[], None]) -> int:
        kept.write(b"a line\n")
        return 0

    node.follow(run)
    assert node.log_path.read_bytes() == b"a line\n"
