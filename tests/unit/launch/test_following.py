"""Other nodes of a group with results in a store: they start no process for a step that is done or taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.launch.boards import MemoryBoard
from tests.unit.launch.stored_launches import StartedTask, StoredLaunches, wait_until
from tests.unit.publishing.file_store import IDENTITY, KEYS, FileStore, claimed

from maskrcnn_trainer.errors import InvalidInput, Stopped, Superseded, TryAgain
from maskrcnn_trainer.launch import following
from maskrcnn_trainer.launch.following import FollowingNode
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.log_collecting import SECONDS_FOR_LAST_LOGS
from maskrcnn_trainer.launch.log_upload import CLAIM_MESSAGE, NodeLogUploads
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.object_store.fence.encoding import encode_claim_name
from maskrcnn_trainer.object_store.fence.exchange_types import FenceRequest, GetRecord, PutFiles, run_decision
from maskrcnn_trainer.object_store.fence.records import ClaimName, OwnerIdentity
from maskrcnn_trainer.object_store.fence.tombstones import DeletedExperiment, delete_experiment
from maskrcnn_trainer.object_store.fence.untrusted import parse_node_log
from maskrcnn_trainer.publishing.step_session import StepSession

SECONDS = 30.0
LATER = "bb"
"""Token of another attempt."""
Run = Callable[[KeptLog, GroupMember], int]


class OtherNode:
    """Node 1 of the first attempt."""

    def __init__(self, directory: Path, store: FileStore) -> None:
        self.log_path = directory / "logs" / "attempt-1.node-1.log"
        self.store = store
        self.board = MemoryBoard()
        self.interrupted = threading.Event()
        self.joined = threading.Event()

    def run(
        self, run: Run, *, between_looks: float = 0.01, between_logs: float = 300.0, for_claim: float = 1800.0
    ) -> int:
        node = FollowingNode(
            self.store,
            IDENTITY.follow_terms,
            NodeLogUploads(self.store, KEYS, 1, self.log_path.name),
            interrupted=self.interrupted,
            on_joined=self.joined.set,
            between_looks=between_looks,
            between_logs=between_logs,
            for_claim=for_claim,
        )
        return node.run(self.log_path, run)

    @property
    def looks(self) -> int:
        return sum(request == GetRecord(KEYS.pointer) for request in list(self.store.memory.requests))

    def delete(self) -> None:
        """Delete the results of the experiment."""
        assert isinstance(run_decision(delete_experiment("exp", "dd"), self.store.memory.send), DeletedExperiment)

    def wait_for_looks(self, number: int) -> None:
        """Wait for looks that begin from now on."""
        before = self.looks
        wait_until(lambda: self.looks > before + number)

    def claim(self) -> None:
        """Claim the step as node 0, and name the claim."""
        claimed(self.store)
        self.board.write(CLAIM_MESSAGE, encode_claim_name(ClaimName(1, "aa")))

    def uploaded(self) -> bytes:
        """Return the log that was announced last."""
        return self.store.memory.objects[parse_node_log(self.board.messages["log-1"], KEYS).key][0]


@pytest.fixture
def launches(tmp_path: Path) -> StoredLaunches:
    return StoredLaunches(tmp_path)


@pytest.fixture
def node(tmp_path: Path, launches: StoredLaunches) -> OtherNode:
    return OtherNode(tmp_path, launches.store)


def finish(task: StartedTask) -> int:
    task.write_result()
    return 0


def nothing(*_: object) -> int:
    raise AssertionError("no process may be started")


def wait_for_node_0(_kept: KeptLog, member: GroupMember) -> int:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        member.while_waiting()
        time.sleep(0.01)
    raise AssertionError("it waits for node 0, which has ended")


def test_step_that_is_done_starts_no_process(node: OtherNode, launches: StoredLaunches) -> None:
    launches.launch(finish)
    assert node.run(nothing) == 0


def test_step_that_is_not_done_runs(node: OtherNode) -> None:
    claimed(node.store)
    assert node.run(lambda *_: 7) == 7


def test_wait_ends_once_the_step_is_done(node: OtherNode, launches: StoredLaunches) -> None:
    def run(kept: KeptLog, member: GroupMember) -> int:
        member.while_waiting()
        launches.launch(finish)
        return wait_for_node_0(kept, member)

    assert node.run(run) == 0


def test_wait_ends_once_a_later_attempt_has_the_step(node: OtherNode) -> None:
    def run(kept: KeptLog, member: GroupMember) -> int:
        claimed(node.store, LATER, attempt=2)
        return wait_for_node_0(kept, member)

    with pytest.raises(Superseded, match="attempt 2") as ended:
        node.run(run)
    assert (ended.value.exit_code, ended.value.attempt) == (75, 2)


def test_step_of_a_later_attempt_starts_no_process(node: OtherNode) -> None:
    claimed(node.store, LATER, attempt=2)
    with pytest.raises(Superseded):
        node.run(nothing)


@pytest.mark.parametrize("is_deleted", [False, True])
def test_wait_for_a_claim_that_does_not_come_ends_after_its_time(node: OtherNode, *, is_deleted: bool) -> None:
    assert following.SECONDS_FOR_CLAIM == 21_600.0
    if is_deleted:
        claimed(node.store)
        node.delete()
    with pytest.raises(TryAgain, match="Node 0 hasn't claimed exp/train for") as ended:
        node.run(wait_for_node_0, for_claim=0.05)
    assert (ended.value.exit_code, ended.value.reason) == (75, "PeerLost")


def test_step_that_another_experiment_has_taken_meanwhile_ends_the_wait(node: OtherNode) -> None:
    owner = OwnerIdentity("other", "", "exp")
    taker = replace(IDENTITY, owner=owner, uid="uid-2", created="2026-02-01T12:00:00Z")
    assert not StepSession(node.store, taker, token=LATER).claim().is_done
    with pytest.raises(TryAgain, match="the experiment of uid uid-2, created 2026-02-01T12:00:00Z"):
        node.run(wait_for_node_0, for_claim=0.05)


def test_claim_that_comes_late_but_in_time_is_waited_for(node: OtherNode) -> None:
    def run(_kept: KeptLog, member: GroupMember) -> int:
        node.wait_for_looks(3)
        claimed(node.store)
        node.wait_for_looks(3)
        member.while_waiting()
        return 7

    claimed(node.store)
    node.delete()
    assert node.run(run) == 7


def test_claimed_step_is_waited_for_without_a_limit(node: OtherNode) -> None:
    def run(_kept: KeptLog, member: GroupMember) -> int:
        node.wait_for_looks(3)
        member.while_waiting()
        return 7

    claimed(node.store)
    assert node.run(run, for_claim=0.0) == 7


def test_deletion_after_the_claim_ends_the_wait(node: OtherNode) -> None:
    def run(kept: KeptLog, member: GroupMember) -> int:
        node.delete()
        return wait_for_node_0(kept, member)

    claimed(node.store)
    with pytest.raises(Superseded) as ended:
        node.run(run)
    assert (ended.value.exit_code, ended.value.reason) == (75, "ResultsDeleted")


def test_pointer_that_is_deleted_by_hand_after_the_claim_ends_the_wait(node: OtherNode) -> None:
    def run(kept: KeptLog, member: GroupMember) -> int:
        del node.store.memory.objects[KEYS.pointer]
        return wait_for_node_0(kept, member)

    claimed(node.store)
    with pytest.raises(TryAgain) as ended:
        node.run(run)
    assert (ended.value.exit_code, ended.value.reason) == (75, "PointerDeleted")


@pytest.mark.parametrize(("seconds", "lines"), [(60.0, 1), (0.0, 4)])
def test_claim_that_is_waited_for_is_logged_once_a_minute(
    node: OtherNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seconds: float, lines: int
) -> None:
    def run(_kept: KeptLog, _member: GroupMember) -> int:
        node.wait_for_looks(3)
        return 7

    assert following.SECONDS_BETWEEN_CLAIM_LINES == 60.0
    caplog.set_level("INFO")
    monkeypatch.setattr(following, "SECONDS_BETWEEN_CLAIM_LINES", seconds)
    node.run(run)
    found = [record.message for record in caplog.records if "Waiting for node 0 to claim exp/train" in record.message]
    assert found[0].endswith("(no pointer yet), for 1800 s more")
    assert len(found) == lines if lines == 1 else len(found) >= lines


def test_pointer_is_read_at_most_once_in_ten_seconds(node: OtherNode) -> None:
    assert following.SECONDS_BETWEEN_DONE_CHECKS == 10.0

    def run(_kept: KeptLog, member: GroupMember) -> int:
        for _ in range(100):
            member.while_waiting()
        return 0

    node.run(run, between_looks=3600.0)
    assert node.looks == 1


def test_failing_store_does_not_end_the_wait(node: OtherNode) -> None:
    failed = threading.Event()

    def down(_: FenceRequest) -> None:
        failed.set()
        raise TryAgain("the store is down")

    def run(_kept: KeptLog, member: GroupMember) -> int:
        node.store.fail = down
        assert failed.wait(SECONDS)
        member.while_waiting()
        return 7

    assert node.run(run) == 7


def test_wait_is_not_blocked_by_a_look(node: OtherNode) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def hang(_: FenceRequest) -> None:
        blocked.set()
        go_on.wait(SECONDS)

    def run(_kept: KeptLog, member: GroupMember) -> int:
        node.store.fail = hang
        assert blocked.wait(SECONDS)
        member.while_waiting()
        go_on.set()
        return 7

    assert node.run(run) == 7


def test_signal_during_a_look_ends_the_wait(node: OtherNode) -> None:
    def stopped(_: FenceRequest) -> None:
        raise Stopped("stopped on request")

    def run(kept: KeptLog, member: GroupMember) -> int:
        node.store.fail = stopped
        return wait_for_node_0(kept, member)

    with pytest.raises(Stopped):
        node.run(run)


def test_look_under_way_does_not_delay_the_end_of_a_wait(node: OtherNode) -> None:
    blocked = threading.Event()

    def hang(_: FenceRequest) -> None:
        blocked.set()
        node.interrupted.wait(SECONDS)

    def run(_kept: KeptLog, _member: GroupMember) -> int:
        node.store.fail = hang
        assert blocked.wait(SECONDS)
        return 143

    begin = time.monotonic()
    assert node.run(run) == 143
    assert time.monotonic() - begin < SECONDS_FOR_LAST_LOGS


def test_damaged_store_is_refused(node: OtherNode, launches: StoredLaunches) -> None:
    launches.launch(finish)
    slot = node.store.pointer().current
    assert slot is not None
    del node.store.memory.objects[slot.manifest]
    with pytest.raises(InvalidInput):
        node.run(nothing)


def test_looks_only_read(node: OtherNode) -> None:
    claimed(node.store)
    before = len(node.store.memory.requests)
    node.run(lambda *_: 0)
    assert {type(request) for request in node.store.memory.requests[before:]} == {GetRecord}


def test_no_look_follows_once_all_nodes_have_joined(node: OtherNode) -> None:
    def run(_kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            assert node.joined.is_set()
            time.sleep(0.1)
            before = node.looks
            time.sleep(0.1)
            assert node.looks == before
        return 0

    node.claim()
    assert node.run(run) == 0


def test_log_is_kept_on_the_node_with_the_lines_of_the_launcher(node: OtherNode) -> None:
    def run(kept: KeptLog, _member: GroupMember) -> int:
        kept.write(b"a line\n")
        following.log.warning("of the launcher")
        return 0

    node.run(run)
    lines = node.log_path.read_bytes().splitlines()
    assert lines[0] == b"a line"
    assert lines[1].endswith(b"of the launcher")


def test_log_is_uploaded_at_the_end(node: OtherNode) -> None:
    def run(kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            kept.write(b"a line\n")
        assert node.uploaded() == b"a line\n"
        return 7

    node.claim()
    assert node.run(run) == 7
    assert parse_node_log(node.board.messages["log-1"], KEYS).is_last


def test_log_of_processes_that_fail_to_start_is_uploaded(node: OtherNode) -> None:
    def run(kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            kept.write(b"no such program\n")
            raise InvalidInput("no such program")

    node.claim()
    with pytest.raises(InvalidInput):
        node.run(run)
    assert node.uploaded() == b"no such program\n"


def test_log_is_uploaded_while_the_processes_run(node: OtherNode) -> None:
    assert following.SECONDS_BETWEEN_LOGS == 300.0

    def run(kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            kept.write(b"a line\n")
            deadline = time.monotonic() + SECONDS
            while "log-1" not in node.board.messages:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert not parse_node_log(node.board.messages["log-1"], KEYS).is_last
        return 0

    node.claim()
    assert node.run(run, between_logs=0.01) == 0


def test_missing_log_fails_nothing(node: OtherNode) -> None:
    def refuse(request: FenceRequest) -> None:
        if isinstance(request, PutFiles):
            raise InvalidInput("no permission")

    def run(_kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            node.store.fail = refuse
        return 0

    node.claim()
    assert node.run(run) == 0
    assert "log-1" not in node.board.messages


def test_last_upload_that_hangs_is_interrupted(node: OtherNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(request: FenceRequest) -> None:
        if isinstance(request, PutFiles):
            node.interrupted.wait(SECONDS)
            raise Stopped("stopped on request")

    def run(_kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            node.store.fail = hang
        return 0

    monkeypatch.setattr(following, "SECONDS_FOR_LAST_LOGS", 0.1)
    node.claim()
    begin = time.monotonic()
    assert node.run(run) == 0
    assert time.monotonic() - begin < SECONDS


def test_last_upload_that_no_interruption_ends_is_waited_for_once(
    node: OtherNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, waits = threading.Event(), []

    def hang(request: FenceRequest) -> None:
        if isinstance(request, PutFiles):
            go_on.wait(SECONDS)

    class CountedThread(threading.Thread):
        def join(self, timeout: float | None = None) -> None:
            waits.append(timeout)
            super().join(timeout)

    def run(_kept: KeptLog, member: GroupMember) -> int:
        with member.joined(node.board):
            node.store.fail = hang
        return 0

    monkeypatch.setattr(following, "SECONDS_FOR_LAST_LOGS", 0.1)
    monkeypatch.setattr(following, "_SECONDS_TO_END", 0.05)
    monkeypatch.setattr(threading, "Thread", CountedThread)
    node.claim()
    assert node.run(run) == 0
    go_on.set()
    assert waits == [0.1, 0.05]
