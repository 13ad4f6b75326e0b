"""Launch with results in a store: what is published and when, exit codes, and termination messages."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.launch.boards import MemoryBoard
from tests.unit.launch.stored_launches import STORED, URL, StartedTask, StoredLaunches, wait_until
from tests.unit.publishing.file_store import FINGERPRINT, KEYS, claimed

from maskrcnn_trainer.errors import InvalidInput, Stopped, Superseded, TryAgain, WorkspaceFull
from maskrcnn_trainer.launch import store_results
from maskrcnn_trainer.launch.group_member import GroupMember
from maskrcnn_trainer.launch.logs import KeptLog
from maskrcnn_trainer.launch.settings import LaunchSettings
from maskrcnn_trainer.launch.store_results import launch_stored, writes_checkpoints
from maskrcnn_trainer.object_store.fence.encoding import encode_node_log
from maskrcnn_trainer.object_store.fence.exchange_types import FenceRequest, PutFiles
from maskrcnn_trainer.object_store.fence.keys import NUMBERS_PER_NODE
from maskrcnn_trainer.object_store.fence.records import NodeLog
from maskrcnn_trainer.object_store.fence.untrusted import parse_claim_name
from maskrcnn_trainer.publishing import step_publisher
from maskrcnn_trainer.task.environment import TaskEnvironment


@pytest.fixture
def launches(tmp_path: Path) -> StoredLaunches:
    return StoredLaunches(tmp_path)


def succeed(task: StartedTask) -> int:
    task.write_checkpoint(40)
    task.write_result()
    return 0


def nothing(_: StartedTask) -> int:
    raise AssertionError("no process may be started")


def refuse_publishing(request: FenceRequest) -> None:
    if isinstance(request, PutFiles):
        raise TryAgain("the store is down")


def test_result_is_published_and_then_the_message_is_written(launches: StoredLaunches) -> None:
    def publish_after_message(request: FenceRequest) -> None:
        if isinstance(request, PutFiles):
            assert not (launches.directory / "termination.json").exists()

    launches.store.fail = publish_after_message
    assert launches.launch(succeed) == 0
    assert launches.store.published().result == "result.json"
    assert launches.store.contents()["model.step-40.tlt"] == b"weights"
    assert launches.message() == {"code": 0, "checkpointStep": 40}


def test_output_at_another_url_is_refused_before_the_step_is_claimed(launches: StoredLaunches) -> None:
    with pytest.raises(InvalidInput, match=f"-d: the value must be the URL of MASKRCNN_RESULTS_DIR \\({URL}\\)"):
        launches.launch(nothing, task=("train", "-d", f"{URL}-2"))
    assert launches.store.memory.requests == []


def test_announced_checkpoint_is_published_while_the_task_runs(launches: StoredLaunches) -> None:
    def run(task: StartedTask) -> int:
        task.write_checkpoint(10)
        wait_until(lambda: task.channel.published_step == 10)
        assert "model.step-10.tlt" in launches.store.contents()
        return succeed(task)

    assert launches.launch(run) == 0


def test_next_attempt_starts_with_the_published_files_and_their_step(launches: StoredLaunches) -> None:
    def fail(task: StartedTask) -> int:
        task.write_checkpoint(10, b"ten")
        return 1

    def resume(task: StartedTask) -> int:
        assert (task.directory / "model.step-10.tlt").read_bytes() == b"ten"
        assert task.channel.published_step == 10
        return succeed(task)

    assert launches.launch(fail) == 1
    assert launches.launch(resume, attempt=2) == 0


def test_failure_is_published_and_names_the_published_checkpoint(launches: StoredLaunches) -> None:
    def fail(task: StartedTask) -> int:
        task.write_checkpoint(10)
        task.write_message(code=64, checkpointStep=None, error={"reason": "InvalidData", "message": "x"})
        return 64

    assert launches.launch(fail) == 64
    assert launches.message() == {"code": 64, "checkpointStep": 10, "error": {"reason": "InvalidData", "message": "x"}}


def test_task_that_was_killed_gets_a_message_with_the_published_checkpoint(launches: StoredLaunches) -> None:
    def crash(task: StartedTask) -> int:
        task.write_checkpoint(10)
        return 139

    assert launches.launch(crash) == 139
    message = launches.message()
    assert (message["code"], message["checkpointStep"], message["error"]["reason"]) == (139, 10, "ProcessFailed")


def test_full_disk_on_which_the_task_left_no_message_is_named(launches: StoredLaunches) -> None:
    assert launches.launch(lambda _: 70) == 70
    error = launches.message()["error"]
    assert error["reason"] == "WorkspaceFull"
    assert "no space left" in error["message"]


def test_success_whose_results_are_not_published_in_time_is_tried_again(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_results, "FINAL_SECONDS", 0.3)
    launches.store.fail = refuse_publishing
    with pytest.raises(TryAgain):
        launches.launch(succeed)
    message = launches.message()
    assert (message["code"], message["error"]["reason"], message["checkpointStep"]) == (75, "NotPublished", None)


def test_failure_whose_end_is_not_published_keeps_its_exit_code(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(task: StartedTask) -> int:
        task.write_checkpoint(10)
        task.write_message(code=64, checkpointStep=10)
        return 64

    monkeypatch.setattr(store_results, "FINAL_SECONDS", 0.3)
    launches.store.fail = refuse_publishing
    assert launches.launch(fail) == 64
    assert launches.message() == {"code": 64, "checkpointStep": None}
    assert "The end of this attempt was not published" in caplog.text


def test_stopped_task_has_a_message_before_its_last_publish_ends(launches: StoredLaunches) -> None:
    messages = []

    def stop(task: StartedTask) -> int:
        task.write_checkpoint(10)
        wait_until(lambda: task.channel.published_step == 10)
        launches.store.fail = lambda _: messages.append(launches.message())
        (task.directory / "model.step-20.tlt").write_bytes(b"twenty")
        task.write_message(code=143, checkpointStep=10)
        return 143

    assert launches.launch(stop) == 143
    assert messages[0] == {"code": 143, "checkpointStep": 10}
    assert launches.message() == {"code": 143, "checkpointStep": 20}


def test_superseded_task_is_ended_and_publishes_nothing_more(launches: StoredLaunches) -> None:
    def run(task: StartedTask) -> int:
        task.write_checkpoint(10)
        wait_until(lambda: task.channel.published_step == 10)
        claimed(launches.store, "bb", attempt=2)
        task.write_checkpoint(20)
        wait_until(lambda: launches.stop.abandoned)
        (task.directory / "model.step-30.tlt").write_bytes(b"late")
        return 0

    with pytest.raises(Superseded):
        launches.launch(run)
    assert launches.stop.abandoned
    message = launches.message()
    assert (message["code"], message["error"]["reason"], message["error"]["laterAttempt"]) == (75, "Superseded", 2)
    assert message["checkpointStep"] == 10
    assert not {"model.step-20.tlt", "model.step-30.tlt"} & launches.store.contents().keys()


def test_task_that_is_superseded_before_its_last_publish_is_not_a_success(launches: StoredLaunches) -> None:
    def run(task: StartedTask) -> int:
        claimed(launches.store, "bb", attempt=2)
        task.write_result()
        return 0

    with pytest.raises(Superseded):
        launches.launch(run)
    assert launches.message()["code"] == 75


def test_failure_that_is_superseded_is_not_reported_as_its_own(launches: StoredLaunches) -> None:
    def run(task: StartedTask) -> int:
        claimed(launches.store, "bb", attempt=2)
        task.write_message(code=64)
        return 64

    with pytest.raises(Superseded):
        launches.launch(run)
    assert launches.message()["code"] == 75


def test_finished_step_starts_no_process_and_reports_the_published_result(launches: StoredLaunches) -> None:
    assert launches.launch(succeed) == 0
    assert launches.launch(nothing, attempt=2) == 0
    message = launches.message()
    assert (message["upToDate"], message["attempt"], message["metrics"]) == (True, 2, {"AP": 0.5})


@pytest.mark.parametrize("members", [{"artifacts": 5}, {"metrics": {"AP": "x"}}, {"artifacts": {"model": {}}}])
def test_published_result_that_is_not_one_is_refused(launches: StoredLaunches, members: dict[str, object]) -> None:
    def run(task: StartedTask) -> int:
        task.write_result(**members)
        return 0

    assert launches.launch(run) == 0
    with pytest.raises(InvalidInput, match="isn't the result of a task; change the step's revision"):
        launches.launch(nothing, attempt=2)
    assert launches.message()["error"]["reason"] == "InvalidResult"


def test_refused_claim_is_the_termination_message(launches: StoredLaunches) -> None:
    claimed(launches.store, "bb", attempt=3)
    with pytest.raises(Superseded):
        launches.launch(nothing, attempt=2)
    assert launches.message()["error"]["laterAttempt"] == 3


def test_signal_before_the_processes_interrupts_requests_but_none_afterwards(launches: StoredLaunches) -> None:
    before: list[bool] = []

    def note(_: FenceRequest) -> None:
        before.append(launches.stops[0]())

    launches.stop.first = signal.SIGTERM
    launches.store.fail = note

    def run(task: StartedTask) -> int:
        assert before
        assert all(before)
        assert not launches.stops[0]()
        task.write_result()
        return 0

    assert launches.launch(run) == 0


def test_stop_during_the_claim_is_the_termination_message(launches: StoredLaunches) -> None:
    def stopped(_: FenceRequest) -> None:
        raise Stopped("stopped on request")

    launches.store.fail = stopped
    with pytest.raises(Stopped):
        launches.launch(nothing)
    assert launches.message()["code"] == 143


def test_second_interrupt_ends_the_last_publish(launches: StoredLaunches) -> None:
    waiting = threading.Event()

    def down(request: FenceRequest) -> None:
        if isinstance(request, PutFiles):
            waiting.set()
            raise TryAgain("the store is down")

    def interrupt() -> None:
        waiting.wait(30)
        launches.stop.on_second_interrupt()

    launches.store.fail = down
    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    with pytest.raises(TryAgain):
        launches.launch(succeed)
    thread.join()
    assert time.monotonic() - started < 30


def test_error_of_the_start_is_raised_after_what_exists_is_published(launches: StoredLaunches) -> None:
    def fail(task: StartedTask) -> int:
        (task.directory / "status.json").write_text('{"date":"x"}\n')
        raise InvalidInput("the port is in use", reason="PortUnusable")

    with pytest.raises(InvalidInput):
        launches.launch(fail)
    assert "status.json" in launches.store.contents()
    assert launches.message()["error"]["reason"] == "PortUnusable"


def test_reported_exit_of_the_start_keeps_its_code_and_message(launches: StoredLaunches) -> None:
    def fail(task: StartedTask) -> int:
        task.write_message(code=64, error={"reason": "InvalidSpec"})
        raise SystemExit(64)

    with pytest.raises(SystemExit) as ended:
        launches.launch(fail)
    assert ended.value.code == 64
    assert launches.message() == {"code": 64, "error": {"reason": "InvalidSpec"}, "checkpointStep": None}


def test_task_gets_paths_of_the_working_copy_and_the_url_of_the_workspace(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = launches.with_working_dir()
    monkeypatch.setenv("MASKRCNN_RESULTS_DIR", URL)

    def run(task: StartedTask) -> int:
        assert task.settings.task == ("train", "-d", str(directory))
        assert task.environment.results_dir == str(directory)
        assert os.environ["MASKRCNN_RESULTS_DIR"] == str(directory)
        assert os.environ["MASKRCNN_WORKSPACE"] == str(launches.directory / "work")
        assert os.environ["MASKRCNN_WORKSPACE_URL"] == "s3://bucket/results"
        assert os.environ["MASKRCNN_TERMINATION_LOG"] == task.environment.termination_log
        assert json.loads((directory / "run.json").read_text())["token"] == os.environ["MASKRCNN_RUN_TOKEN"]
        return succeed(task)

    assert launches.launch(run) == 0
    assert os.environ["MASKRCNN_RESULTS_DIR"] == URL
    assert "MASKRCNN_RUN_TOKEN" not in os.environ


def test_log_is_kept_and_published(launches: StoredLaunches) -> None:
    def run(task: StartedTask) -> int:
        task.kept.write(b"a line\n")
        return succeed(task)

    launches.launch(run)
    assert b"a line\n" in launches.store.contents()["logs/attempt-1.node-0.log"]


def test_temporary_working_copy_is_removed(launches: StoredLaunches) -> None:
    directories = []

    def run(task: StartedTask) -> int:
        directories.append(task.directory)
        return succeed(task)

    launches.launch(run)
    assert not directories[0].parents[1].exists()


def test_foreign_file_in_the_working_directory_is_refused_and_stays(launches: StoredLaunches) -> None:
    directory = launches.with_working_dir()
    directory.mkdir(parents=True)
    (directory / "thesis.doc").write_bytes(b"years")
    with pytest.raises(InvalidInput, match=r"thesis\.doc"):
        launches.launch(nothing)
    assert (directory / "thesis.doc").read_bytes() == b"years"
    assert launches.message()["error"]["reason"] == "ForeignFiles"


def test_other_node_runs_its_processes_without_a_claim_or_a_channel(launches: StoredLaunches) -> None:
    directory = launches.with_working_dir()

    def run(
        settings: LaunchSettings,
        environment: TaskEnvironment,
        kept: KeptLog | None,
        descriptor: int | None,
        _member: GroupMember,
    ) -> int:
        assert (settings.task, descriptor) == (("train", "-d", str(directory)), None)
        assert environment.results_dir == os.environ["MASKRCNN_RESULTS_DIR"] == str(directory)
        assert kept is not None
        return 7

    claimed(launches.store, "bb")
    before = launches.store.pointer()
    environment = TaskEnvironment(
        stored_step=launches.stored, fingerprint=FINGERPRINT, experiment_uid="uid-1", created="2026-01-31T12:00:00Z"
    )
    settings = LaunchSettings(2, 1, 1, ("node-0", 29500), ("train", "-d", URL))
    opened = nullcontext(launches.store)
    code = launch_stored(settings, environment, launches.stored, launches.stop, run, open_store=lambda *_: opened)
    assert code == 7
    assert launches.store.pointer() == before


def test_step_whose_name_can_not_be_a_key_is_refused(launches: StoredLaunches) -> None:
    launches.stored = replace(STORED, step="a b")
    with pytest.raises(InvalidInput, match="^MASKRCNN_RESULTS_DIR: the last two segments"):
        launches.launch(nothing)


def test_task_without_checkpoints_is_published_while_it_runs(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_results, "SECONDS_BETWEEN_PUBLISHES", 0.05)

    def run(task: StartedTask) -> int:
        (task.directory / "status.json").write_text('{"date":"x"}\n')
        wait_until(lambda: launches.store.pointer().current is not None)
        wait_until(lambda: "status.json" in launches.store.contents())
        task.write_result()
        return 0

    assert launches.launch(run, task=("evaluate", "-r", URL)) == 0


def test_failures_of_many_requests_are_at_most_one_line_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[Callable[[str], None]] = []
    monkeypatch.setattr(store_results, "stores_of_command", lambda *_: ())
    monkeypatch.setattr(store_results, "open_fence_store", lambda *_, on_wait, **__: waits.append(on_wait))
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    store_results.open_store_of_task(STORED.workspace_url, LaunchSettings(1, 0, 1, None, ("train",)), lambda: False)
    caplog.set_level("INFO")
    for clock[0] in (0.0, 0.5, 59.0, 60.0):
        waits[0](f"the store is down at {clock[0]}")
    assert [record.getMessage() for record in caplog.records] == [
        "the store is down at 0.0",
        "the store is down at 60.0",
    ]


@pytest.mark.parametrize(("task", "expected"), [("train", True), ("evaluate", False), ("dataset-convert", False)])
def test_only_a_training_writes_checkpoints(task: str, *, expected: bool) -> None:
    assert writes_checkpoints([task]) is expected


def test_log_of_another_node_is_published_and_kept_by_the_next_attempt_without_a_copy(launches: StoredLaunches) -> None:
    board = MemoryBoard()
    path = "logs/attempt-1.node-1.log"

    def fail(task: StartedTask) -> int:
        with task.member.joined(board):
            claim = parse_claim_name(board.messages["claim"])
            key = KEYS.written_once(claim.epoch, claim.token, NUMBERS_PER_NODE, "log")
            launches.store.memory.put(key, b"of node 1")
            log = NodeLog(key, 9, hashlib.sha256(b"of node 1").hexdigest(), is_last=True)
            board.write("log-1", encode_node_log(log))
        return 1

    def resume(task: StartedTask) -> int:
        assert not (task.directory / path).exists()
        return succeed(task)

    launches.nodes = 2
    assert launches.launch(fail) == 1
    assert launches.store.contents()[path] == b"of node 1"
    launches.nodes = 1
    assert launches.launch(resume, attempt=2) == 0
    assert launches.store.contents()[path] == b"of node 1"


def test_published_files_beyond_the_scratch_limit_are_not_loaded(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: StartedTask) -> int:
        task.write_checkpoint(10, b"x" * 50_000)
        return 1

    assert launches.launch(fail) == 1
    monkeypatch.setenv("MASKRCNN_SCRATCH_LIMIT", "40000")
    directory = launches.with_working_dir()
    with pytest.raises(WorkspaceFull):
        launches.launch(nothing, attempt=2)
    error = launches.message()["error"]
    assert error["reason"] == "WorkspaceFull"
    assert "the published files to load need 50." in error["message"]
    assert "but the limit is 40.0 kB" in error["message"]
    assert not (directory / "model.step-10.tlt").exists()


def denied(request: FenceRequest) -> None:
    if isinstance(request, PutFiles):
        raise InvalidInput("writing failed: permission was refused", reason="StorePermissionDenied")


def test_success_that_may_not_be_published_ends_with_the_reason_of_the_refusal(launches: StoredLaunches) -> None:
    launches.store.fail = denied
    started = time.monotonic()
    with pytest.raises(InvalidInput):
        launches.launch(succeed)
    message = launches.message()
    assert (message["code"], message["error"]["reason"]) == (64, "StorePermissionDenied")
    assert time.monotonic() - started < 30


def test_training_continues_while_it_may_not_publish(launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_publisher, "SECONDS_BEFORE_RETRY", 0.05)
    refused = threading.Event()

    def deny(request: FenceRequest) -> None:
        if isinstance(request, PutFiles) and not refused.is_set():
            refused.set()
            denied(request)

    def run(task: StartedTask) -> int:
        task.write_checkpoint(10)
        wait_until(refused.is_set)
        wait_until(lambda: task.channel.published_step == 10)
        return succeed(task)

    launches.store.fail = deny
    assert launches.launch(run) == 0


@pytest.mark.parametrize("in_pod", [False, True])
def test_next_attempt_is_promised_only_what_it_will_find(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch, *, in_pod: bool
) -> None:
    if in_pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(store_results, "FINAL_SECONDS", 0.3)
    launches.with_working_dir()
    launches.store.fail = refuse_publishing
    with pytest.raises(TryAgain):
        launches.launch(succeed)
    promised = "the next attempt in the same working directory publishes them" in launches.message()["error"]["message"]
    assert promised is not in_pod
