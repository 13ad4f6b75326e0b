"""Write access to a results directory, and moves of the results in it."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.unit.results.directories import (
    A,
    B,
    C,
    D,
    assert_refused,
    checkpoint,
    finish,
    folders,
    snapshot,
    start,
    write,
)

from maskrcnn_trainer.errors import InvalidInput, Superseded, TryAgain
from maskrcnn_trainer.launch import LaunchSettings, launch
from maskrcnn_trainer.results.aside import clear_results_dir
from maskrcnn_trainer.results.ownership import await_claim, claim, is_later, ownership_guard
from maskrcnn_trainer.results.run_file import RunRecord, read_run
from maskrcnn_trainer.task.environment import TaskEnvironment


def test_the_file_names_the_run(tmp_path: Path) -> None:
    token = start(tmp_path / "train", A, attempt=3)
    content = json.loads((tmp_path / "train" / "run.json").read_text())
    assert content == {"version": 1, "experimentUid": "uid", "attempt": 3, "fingerprint": A, "token": token}


def test_every_start_draws_a_token_and_takes_the_right_to_write_from_the_one_before(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    old = start(directory, A)
    ownership_guard(directory, old)()
    new = start(directory, A)
    assert new != old
    ownership_guard(directory, new)()
    with pytest.raises(TryAgain, match="now belongs to attempt 1") as caught:
        ownership_guard(directory, old)()
    assert caught.value.exit_code == 75


EARLY, LATE = "2026-01-31T12:00:00Z", "2026-02-01T12:00:00Z"


def run_of(uid: str, attempt: int, created: str = "") -> RunRecord:
    return RunRecord(uid, attempt, A, "token", (), created)


@pytest.mark.parametrize(
    ("found", "mine", "expected"),
    [
        (run_of("uid", 3), run_of("uid", 2), True),
        (run_of("uid", 2), run_of("uid", 2), False),
        (run_of("uid", 2), run_of("uid", 3), False),
        (run_of("later", 1, LATE), run_of("earlier", 9, EARLY), True),
        (run_of("earlier", 9, EARLY), run_of("later", 1, LATE), False),
        (run_of("a", 1, EARLY), run_of("b", 1, EARLY), False),
        (run_of("a", 1, LATE), run_of("b", 1), False),
        (run_of("a", 1), run_of("b", 1, EARLY), False),
    ],
)
def test_later_attempt_and_later_experiment_keep_their_directory(
    found: RunRecord, mine: RunRecord, expected: bool
) -> None:
    assert is_later(found, mine) is expected


def test_attempt_that_wakes_late_changes_nothing_in_the_directory_of_the_next(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    token = start(directory, A, attempt=2)
    before = snapshot(tmp_path)
    with pytest.raises(Superseded, match="belongs to attempt 2; this is attempt 1") as refusal:
        start(directory, B, attempt=1)
    assert (refusal.value.exit_code, refusal.value.attempt) == (75, 2)
    assert snapshot(tmp_path) == before
    ownership_guard(directory, token)()


def test_experiment_that_was_created_earlier_does_not_take_the_directory_of_a_later_one(tmp_path: Path) -> None:
    claim(tmp_path / "train", experiment_uid="later", attempt=1, fingerprint=A, created=LATE)
    with pytest.raises(Superseded, match=f"created later, at {LATE}") as refusal:
        claim(tmp_path / "train", experiment_uid="earlier", attempt=5, fingerprint=A, created=EARLY)
    assert refusal.value.attempt is None
    claim(tmp_path / "train", experiment_uid="of an older release", attempt=1, fingerprint=A)


def test_number_of_the_later_attempt_is_in_the_termination_message(tmp_path: Path) -> None:
    start(tmp_path / "train", A, attempt=4)
    log = tmp_path / "termination"
    environment = TaskEnvironment(
        results_dir=str(tmp_path / "train"),
        fingerprint=A,
        attempt=1,
        experiment_uid="uid",
        termination_log=str(log),
    )
    settings = LaunchSettings(nodes=1, node_rank=0, processes=1, rendezvous=None, task=("train", "-e", "spec"))
    with pytest.raises(Superseded):
        launch(settings, environment)
    error = json.loads(log.read_text())["error"]
    assert (error["reason"], error["laterAttempt"]) == ("Superseded", 4)


def test_a_task_started_by_hand_needs_no_token(tmp_path: Path) -> None:
    ownership_guard(tmp_path / "nowhere", None)()
    with pytest.raises(TryAgain, match="now isn't claimed"):
        ownership_guard(tmp_path / "nowhere", "a token")()


def test_equal_fingerprints_stay_where_they_are(tmp_path: Path) -> None:
    start(tmp_path / "train", A)
    start(tmp_path / "train", A, attempt=2)
    assert folders(tmp_path) == {"train": A}


def test_results_of_another_fingerprint_are_kept_aside_once_and_moved_back(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    start(directory, B)
    assert folders(tmp_path) == {"train": B, "train.aaaaaaaa": A}
    start(directory, A)
    assert folders(tmp_path) == {"train": A, "train.bbbbbbbb": B}
    start(directory, C)
    assert folders(tmp_path) == {"train": C, "train.aaaaaaaa": A}


def test_other_steps_and_folders_of_the_user_are_left_alone(tmp_path: Path) -> None:
    # the last two have names of moved results but other content
    others = ("train2", "train.backup", "train.notahexd", "train.20261128", "train.deadbeef")
    for name in others[:-1]:
        start(tmp_path / name, C)
    write(tmp_path / "train.deadbeef", "status.json", "mine.png")
    before = snapshot(tmp_path)
    for fingerprint in (A, B, D):
        start(tmp_path / "train", fingerprint)
    after = {path: content for path, content in snapshot(tmp_path).items() if path.startswith(others)}
    assert after == before


@pytest.mark.parametrize(
    "content",
    ['{"version": 1, "attempt": ', "", "\0" * 100, "[" * 100_000, '{"attempt": 1e999, "token": ""}', "9" * 5000],
)
def test_directory_with_unreadable_run_file_has_no_owner(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert read_run(tmp_path) is None


def test_other_nodes_wait_for_their_attempt_and_take_its_token(tmp_path: Path) -> None:
    start(tmp_path / "train", A, attempt=1)
    seen: list[RunRecord | None] = []
    looks, looked_again, ended = itertools.count(), threading.Event(), threading.Event()

    def stopping() -> bool:
        # called before each read of the directory
        if next(looks) == 2:
            looked_again.set()
        return ended.is_set()

    def wait() -> None:
        seen.append(
            await_claim(tmp_path / "train", experiment_uid="uid", attempt=2, stopping=stopping, poll_seconds=0.01)
        )

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        assert looked_again.wait(10)
        assert seen == []
        token = start(tmp_path / "train", A, attempt=2)
        waiting.join(10)
        assert [run.token for run in seen if run] == [token]
    finally:
        ended.set()
        waiting.join(10)


def test_older_results_are_deleted_file_by_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "train"
    finish(directory, A)
    write(directory, "model.step-1.tlt", "logs/attempt-1.node-0.log", "logs/tensorboard/events.out.tfevents.1.a")
    finish(directory, B)
    old = tmp_path / "train.aaaaaaaa"
    write(old, "logs/my-analysis.ipynb")
    finish(directory, C)
    assert sorted(snapshot(old)) == ["logs/my-analysis.ipynb", "run.json"]
    assert "logs/my-analysis.ipynb" in caplog.text
    (old / "logs" / "my-analysis.ipynb").unlink()
    finish(directory, D)
    assert not old.exists()


def test_a_deletion_that_was_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "train"
    finish(directory, A)
    write(directory, *(f"model.step-{step}.tlt" for step in range(5)))
    finish(directory, B)
    unlink, calls = os.unlink, itertools.count()

    def killed(path: Any, **options: Any) -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt
        unlink(path, **options)

    monkeypatch.setattr("maskrcnn_trainer.results.contents.os.unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        finish(directory, C)
    monkeypatch.undo()
    assert (tmp_path / "train.aaaaaaaa" / "run.json").exists()
    finish(directory, C)
    finish(directory, D)
    assert sorted(folders(tmp_path)) == ["train", "train.cccccccc"]


def test_a_name_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    write(tmp_path / "train.aaaaaaaa", "0.png")
    start(directory, B)
    assert (tmp_path / "train.aaaaaaaa" / "0.png").exists()
    assert read_run(tmp_path / "train.aaaaaaaa.1")
    start(directory, A)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["train", "train.aaaaaaaa", "train.bbbbbbbb"]


def test_an_inference_that_was_cut_short_is_ours(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    start(directory, A)
    write(directory, "images_annotated/a.png", "images_annotated/.b.png.7.partial")
    (directory / "labels").mkdir()
    (directory / "labels" / "c.json").write_text("[]")
    start(directory, B)
    assert (tmp_path / "infer.aaaaaaaa" / "images_annotated" / "a.png").exists()


@pytest.mark.parametrize("how", ["itself", "link", "pattern", "link to a pattern", "dots", "mapped"])
def test_inputs_of_the_task_are_not_moved(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "nuclei" / "train"
    start(directory, A)
    checkpoint(directory / "model.step-5.tlt", A)
    (tmp_path / "link").symlink_to(directory)
    monkeypatch.setenv("MASKRCNN_WORKSPACE", str(tmp_path))
    path = {
        "itself": f"{directory}/model.step-5.tlt",
        "link": f"{tmp_path}/link/model.step-5.tlt",
        "pattern": f"{tmp_path}/other/*,{directory}/model.*",
        "link to a pattern": f"{tmp_path}/l*k/model.*",
        "dots": f"{tmp_path}/nuclei//x/../train/./model.step-5.tlt",
        "mapped": "/workspace/nuclei/train/model.step-5.tlt",
    }[how]
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps({"checkpoint": "/elsewhere", "dataConfig": {"trainingFilePattern": path}}))
    task = ("train", "-e", str(spec), "-d", str(directory))
    assert_refused(directory, B, "dataConfig.trainingFilePattern of -e", "rename the step", task=task)
    spec.write_text("{}")
    if "pattern" not in how:
        task = ("inference", "-e", str(spec), "-m", path, "-i", "/samples", "-r", str(directory))
        assert_refused(directory, B, "-m", task=task)
    task = ("inference", "-i", "/samples", "-r", str(directory), "-o", f"{directory}/model.onnx", "-k", str(directory))
    start(directory, B, 1, *task)


def test_older_results_that_the_task_reads_are_kept(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    finish(directory, A)
    checkpoint(directory / "model.step-5.tlt", A)
    finish(directory, B)
    kept = tmp_path / "train.aaaaaaaa" / "model.step-5.tlt"
    finish(directory, C, 1, "evaluate", "-m", str(kept))
    assert kept.exists()
    finish(directory, D, 1, "evaluate", "-m", str(tmp_path / "train.other"))
    assert not kept.exists()


def environment_of(directory: Path, termination_log: Path) -> TaskEnvironment:
    return TaskEnvironment.from_environ(
        {
            "MASKRCNN_RESULTS_DIR": str(directory),
            "MASKRCNN_FINGERPRINT": A,
            "MASKRCNN_EXPERIMENT_UID": "uid",
            "MASKRCNN_TERMINATION_LOG": str(termination_log),
        }
    )


def test_refused_launch_writes_its_termination_message_but_not_into_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    write(directory, "0.png")
    settings = LaunchSettings(1, 0, 1, None, ("evaluate", "-r", str(directory)), keep_logs=True)
    for termination_log in (tmp_path / "termination.log", directory / "termination.json"):
        with pytest.raises(InvalidInput):
            launch(settings, environment_of(directory, termination_log))
        assert sorted(snapshot(directory)) == ["0.png"]
    said = json.loads((tmp_path / "termination.log").read_text())
    assert (said["code"], said["error"]["reason"]) == (64, "ForeignFiles")
    assert "0.png" in said["error"]["message"]


@pytest.mark.parametrize("parents", ["", "nuclei/"])
def test_two_launches_do_not_claim_at_the_same_moment(
    tmp_path: Path, parents: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lock, a launch could move files that another one has put there since the first one's check."""
    locked: list[bool] = []

    def is_locked() -> bool:
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def look(*given: Any, **named: Any) -> None:
        locked.append(is_locked())
        clear_results_dir(*given, **named)
        locked.append(is_locked())

    monkeypatch.setattr("maskrcnn_trainer.results.ownership.clear_results_dir", look)
    start(tmp_path / f"{parents}train", A)
    assert locked == [True, True]
    assert not is_locked()


def test_a_lock_that_stays_does_not_prevent_a_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file server may keep the lock of a dead node."""
    monkeypatch.setattr("maskrcnn_trainer.results.ownership.LOCK_SECONDS", 0.1)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    start(tmp_path / "train", A)
    os.close(descriptor)
    assert folders(tmp_path) == {"train": A}
    assert "continuing without the lock" in caplog.text


def test_a_file_system_without_locks_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", fail)
    for fingerprint in (A, B):
        start(tmp_path / "train", fingerprint)
    assert folders(tmp_path) == {"train": B, "train.aaaaaaaa": A}


def test_files_that_killed_tasks_left_half_written_are_removed(tmp_path: Path) -> None:
    names = [".model.step-5.tlt.77.partial", ".notes.77.partial", "model.step-5.tlt.partial"]
    write(tmp_path / "train", names[0])
    start(tmp_path / "train", A)
    assert (tmp_path / "train" / names[0]).exists()  # no run had claimed the directory
    write(tmp_path / "train", *names)
    start(tmp_path / "train", A)
    left = {path.name for path in (tmp_path / "train").iterdir()}
    assert left == {"run.json", "status.json", *names[1:]}


def test_attempts_without_results_do_not_displace_older_results(tmp_path: Path) -> None:
    """For example, two edits with a mistake after a month of training."""
    directory = tmp_path / "train"
    start(directory, A)
    checkpoint(directory / "model.step-5.tlt", A)
    for fingerprint in (B, C, D):
        start(directory, fingerprint)
        write(directory, "logs/attempt-1.node-0.log")
        (directory / "history.jsonl").write_text('{"step":1,"losses":{}}\n')  # of a training without a checkpoint
    assert sorted(folders(tmp_path)) == ["train", "train.aaaaaaaa", "train.cccccccc"]
    start(directory, A)
    assert (directory / "model.step-5.tlt").exists()
