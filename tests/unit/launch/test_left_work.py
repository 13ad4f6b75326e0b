"""Tests of work that an attempt could not publish: what the next one in the same working copy does with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.launch.stored_launches import StartedTask, StoredLaunches, wait_until
from tests.unit.object_store.fence.memory_store import KEYS
from tests.unit.publishing.file_store import Outage

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.launch import store_results
from maskrcnn_trainer.object_store.fence.exchange_types import PutFiles, run_decision
from maskrcnn_trainer.object_store.fence.tombstones import DeletedExperiment, delete_experiment
from maskrcnn_trainer.publishing import step_session


@pytest.fixture
def launches(tmp_path: Path) -> StoredLaunches:
    return StoredLaunches(tmp_path)


def succeed(task: StartedTask) -> int:
    task.write_checkpoint(40)
    task.write_result()
    return 0


def nothing(_: StartedTask) -> int:
    raise AssertionError("no process may be started")


def change(file: Path, **members: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | members))


def finish_while_the_store_is_down(launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let attempt 1 end with a result that it can't publish; return the working copy."""
    directory = launches.with_working_dir()
    with monkeypatch.context() as patch:
        patch.setattr(store_results, "FINAL_SECONDS", 0.3)
        launches.store.fail = Outage(PutFiles)
        with pytest.raises(TryAgain):
            launches.launch(succeed)
    launches.store.fail = lambda _: None
    return directory


def crash_while_the_store_is_down(launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Let attempt 1 publish its first checkpoint, and end with others that it can't publish."""

    def crash(task: StartedTask) -> int:
        task.write_checkpoint(steps[0])
        wait_until(lambda: task.channel.published_step == steps[0])
        launches.store.fail = Outage(PutFiles)
        for step in steps[1:]:
            task.write_checkpoint(step, b"unpublished")
        return 1

    launches.with_working_dir()
    with monkeypatch.context() as patch:
        patch.setattr(store_results, "FINAL_SECONDS", 0.3)
        assert launches.launch(crash) == 1
    launches.store.fail = lambda _: None


def test_result_that_was_not_published_is_published_by_the_next_attempt(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_while_the_store_is_down(launches, monkeypatch)
    assert launches.launch(nothing, attempt=2) == 0
    assert launches.store.published().result == "result.json"
    assert launches.store.contents()["model.step-40.tlt"] == b"weights"
    message = launches.message()
    assert (message["code"], message["attempt"], message["metrics"]) == (0, 2, {"AP": 0.5})


def test_result_of_another_fingerprint_is_not_published(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = finish_while_the_store_is_down(launches, monkeypatch)
    change(directory / "run.json", fingerprint="f" * 32)
    assert launches.launch(lambda _: 1, attempt=2) == 1
    assert "model.step-40.tlt" not in launches.store.contents()


def test_result_of_another_experiment_is_not_published(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = finish_while_the_store_is_down(launches, monkeypatch)
    change(directory / "run.json", experimentUid="uid-2")
    assert launches.launch(lambda _: 1, attempt=2) == 1
    assert "model.step-40.tlt" not in launches.store.contents()


def test_result_of_an_experiment_that_was_deleted_is_not_published(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_while_the_store_is_down(launches, monkeypatch)
    assert isinstance(run_decision(delete_experiment("exp", "dd"), launches.store.sender()), DeletedExperiment)
    assert launches.launch(lambda _: 1, attempt=2) == 1
    assert "model.step-40.tlt" not in launches.store.contents()


def test_result_of_a_pointer_that_was_deleted_is_not_published(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_while_the_store_is_down(launches, monkeypatch)
    del launches.store.memory.objects[KEYS.pointer]
    assert launches.launch(lambda _: 1, attempt=2) == 1
    assert "model.step-40.tlt" not in launches.store.contents()


def test_incomplete_result_is_replaced_by_the_published_files(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = finish_while_the_store_is_down(launches, monkeypatch)
    artifacts = {"model": {"path": str(directory / "model.hdf5"), "bytes": 5}}
    change(directory / "result.json", artifacts=artifacts)
    assert launches.launch(lambda _: 1, attempt=2) == 1
    assert not {"result.json", "model.step-40.tlt"} & launches.store.contents().keys()


def test_newer_checkpoint_that_was_not_published_is_continued(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_the_store_is_down(launches, monkeypatch, 10, 20)

    def resume(task: StartedTask) -> int:
        assert (task.directory / "model.step-20.tlt").read_bytes() == b"unpublished"
        wait_until(lambda: task.channel.published_step == 20)
        return succeed(task)

    assert launches.launch(resume, attempt=2) == 0
    assert {"model.step-10.tlt", "model.step-20.tlt"} <= launches.store.contents().keys()


def test_files_without_a_newer_checkpoint_are_replaced_by_the_published_ones(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_the_store_is_down(launches, monkeypatch, 10)
    directory = launches.with_working_dir()
    (directory / "model.step-10.tlt").write_bytes(b"changed")

    def resume(task: StartedTask) -> int:
        assert (task.directory / "model.step-10.tlt").read_bytes() == b"weights"
        return succeed(task)

    assert launches.launch(resume, attempt=2) == 0


def test_checkpoint_left_by_an_interrupted_restore_is_not_continued(
    launches: StoredLaunches, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_while_the_store_is_down(launches, monkeypatch, 10, 20)
    directory = launches.with_working_dir()
    change(directory / "run.json", fingerprint="f" * 32)

    def interrupted(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(step_session, "remove_others", interrupted)
        with pytest.raises(OSError, match="^$"):
            launches.launch(nothing, attempt=2)

    def resume(task: StartedTask) -> int:
        assert not (task.directory / "model.step-20.tlt").exists()
        return succeed(task)

    assert launches.launch(resume, attempt=3) == 0
