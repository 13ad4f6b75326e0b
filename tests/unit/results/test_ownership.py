"""Who may write to a results directory, and what happens to what stands there."""

from __future__ import annotations

import errno
import fcntl
import io
import itertools
import json
import logging
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.launch import LaunchSettings, launch
from maskrcnn_trainer.model_files.model_file import ModelFile, write_model_file
from maskrcnn_trainer.results.aside import clear_results_dir
from maskrcnn_trainer.results.ownership import await_claim, claim, ownership_guard
from maskrcnn_trainer.results.run_file import RunRecord, read_run
from maskrcnn_trainer.task.environment import TaskEnvironment

A = "aaaaaaaa111111111111111111111111-v1"
B = "bbbbbbbb222222222222222222222222-v1"
C = "cccccccc333333333333333333333333-v1"
D = "dddddddd444444444444444444444444-v1"


def start(directory: Path, fingerprint: str, attempt: int = 1, *task: str) -> str:
    run = claim(directory, experiment_uid="uid", attempt=attempt, fingerprint=fingerprint, task=task)
    (directory / "status.json").write_text(fingerprint)
    return run.token


def finish(directory: Path, fingerprint: str, attempt: int = 1, *task: str) -> None:
    start(directory, fingerprint, attempt, *task)
    write(directory, "evaluations.json")


def folders(parent: Path) -> dict[str, str]:
    return {entry.name: (entry / "status.json").read_text() for entry in parent.iterdir() if entry.is_dir()}


def snapshot(root: Path) -> dict[str, object]:
    """Every file and link below a directory with its content."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def write(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(name.encode())


def checkpoint(path: Path, fingerprint: str | None, key: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    step = int(path.stem.rpartition("-")[2])
    model = ModelFile({}, {}, {}, step, {"kernel": np.zeros(3, np.float32)}, state={"fingerprint": fingerprint})
    write_model_file(path, model, key)


def result(directory: Path, fingerprint: str | None, **artifacts: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    named = {name: {"path": path, "bytes": 1} for name, path in artifacts.items()}
    content = {"version": 1, "task": "train", "code": 0, "fingerprint": fingerprint, "artifacts": named}
    (directory / "result.json").write_text(json.dumps(content))


def assert_refused(directory: Path, fingerprint: str, *words: str, task: tuple[str, ...] = ()) -> None:
    """Nothing is touched, and the message says what is in the way."""
    before = snapshot(directory.parent)
    with pytest.raises(InvalidInput) as caught:
        claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint, task=task)
    assert caught.value.exit_code == 64
    for word in (str(directory), *words):
        assert word in str(caught.value)
    assert snapshot(directory.parent) == before


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


def test_a_task_started_by_hand_needs_no_token(tmp_path: Path) -> None:
    ownership_guard(tmp_path / "nowhere", None)()
    with pytest.raises(TryAgain, match="belongs to nobody"):
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
    # the last two are called as ours are, but hold something else
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
def test_an_unreadable_file_is_nobodys(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    assert read_run(tmp_path) is None


def test_other_nodes_wait_for_their_attempt_and_take_its_token(tmp_path: Path) -> None:
    start(tmp_path / "train", A, attempt=1)
    seen: list[RunRecord | None] = []
    looks, looked_again, ended = itertools.count(), threading.Event(), threading.Event()

    def stopping() -> bool:
        # asked before each look at the directory
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


@pytest.mark.parametrize("names", [("0.png", "1.png"), ("a/b/c.txt",), ("status.json", "z.csv"), ("model.step-1.tlt",)])
def test_a_directory_of_the_users_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    directory = tmp_path / "images"
    write(directory, *names)
    if "status.json" in names:
        (directory / "status.json").write_text('{"date":"11/28/2026"}')
    foreign = next(name for name in names if name != "status.json")
    for fingerprint in (A, B, C):
        assert_refused(directory, fingerprint, f"holds {foreign},", "move it elsewhere, or rename the step")


def test_what_maskrcnn_train_has_left_on_a_command_line_is_the_users(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    write(directory, "status.json", "evaluations.json", "logs/tensorboard/events.out.tfevents.1.a")
    checkpoint(directory / "model.step-10.tlt", None)
    result(directory, None, model="model.step-10.tlt")
    assert_refused(directory, A, "evaluations.json")
    # also where an operator's run has claimed the directory before
    mine = tmp_path / "mine"
    start(mine, A)
    result(mine, None)
    assert_refused(mine, B, "result.json")
    (mine / "result.json").unlink()
    checkpoint(mine / "model.step-5.tlt", A)
    checkpoint(mine / "model.step-6.tlt", None)
    assert_refused(mine, B, "model.step-6.tlt")
    (mine / "model.step-6.tlt").unlink()
    start(mine, B)
    assert (tmp_path / "mine.aaaaaaaa" / "model.step-5.tlt").exists()


def test_records_converted_by_hand_are_the_users(tmp_path: Path) -> None:
    directory = tmp_path / "convert"
    write(directory, "train-00000-of-00001.tfrecord")
    result(directory, None, records=f"{directory}/train-*-of-00001.tfrecord")
    assert_refused(directory, A, "result.json")
    # a second set beside ours
    ours = tmp_path / "ours"
    start(ours, A)
    write(ours, "train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord", "extra-00000-of-00001.tfrecord")
    result(ours, A, records="/workspace/raw/ours/train-*-of-00002.tfrecord")
    assert_refused(ours, B, "extra-00000-of-00001.tfrecord")
    (ours / "extra-00000-of-00001.tfrecord").unlink()
    start(ours, B)


@pytest.mark.parametrize(
    "name", ["notes.txt", "model.onnx.bak", "images_annotated/.DS_Store", "sub/run.json", "labels.json", "lost/found"]
)
def test_one_file_of_the_users_keeps_results_where_they_are(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    write(directory, "model.step-1.tlt", name)
    assert_refused(directory, B, f"holds {name},")
    start(directory, A)  # nothing has to move
    assert (directory / name).exists()


def test_a_directory_without_a_run_is_claimed_where_nothing_of_value_stands(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    write(directory, "logs/attempt-1.log", ".run.json.12.partial", ".train.convert-abcd1234/lock")
    (directory / "status.json").write_text('{"date":"11/28/2026"}')
    write(directory, ".nfs0001", "lost+found/x", ".snapshot/hourly/0.png")
    before = snapshot(directory)
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=A)
    after = snapshot(directory)
    assert after.pop("run.json")
    assert after == before


@pytest.mark.parametrize("content", ["{}", '{"lr": 0.1}', "[]", '"text"'])
def test_a_run_file_of_another_program_is_the_users(tmp_path: Path, content: str) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    (directory / "run.json").write_text(content)
    assert_refused(directory, A, "run.json")


@pytest.mark.parametrize("name", ["run.json", "model.step-1.tlt", "images_annotated", "status.json"])
def test_a_link_is_a_file_of_the_users(tmp_path: Path, name: str) -> None:
    write(tmp_path / "raw", "0.png")
    directory = tmp_path / "train"
    start(directory, A)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(tmp_path / "raw")
    assert_refused(directory, B, name)


def test_a_results_directory_that_is_a_link_is_claimed_but_never_moved(tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other / "full", "0.png")
    (other / "empty").mkdir()
    home = tmp_path / "nuclei"
    home.mkdir()
    (home / "train").symlink_to(other / "full")
    assert_refused(home / "train", A, "0.png")
    (home / "train").unlink()
    (home / "train").symlink_to(other / "empty")
    start(home / "train", A)
    start(home / "train", A)
    assert (other / "empty" / "run.json").exists()
    assert_refused(home / "train", B, "is a link")
    (home / "train").unlink()
    (home / "train").symlink_to(other / "absent")
    assert_refused(home / "train", A, "broken link")
    write(home, "file")
    assert_refused(home / "file", A)


def test_a_link_beside_the_directory_is_never_followed(tmp_path: Path) -> None:
    start(tmp_path / "other", A)
    (tmp_path / "train.aaaaaaaa").symlink_to(tmp_path / "other")
    for fingerprint in (A, B, C, D):
        start(tmp_path / "train", fingerprint)
    assert (tmp_path / "other" / "run.json").exists()
    assert (tmp_path / "train.aaaaaaaa").is_symlink()


def test_older_results_with_a_file_of_the_users_are_kept_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "train"
    finish(directory, A)
    finish(directory, B)
    write(tmp_path / "train.aaaaaaaa", "model.step-1.tlt", "why-this-is-the-best.md")
    before = snapshot(tmp_path / "train.aaaaaaaa")
    for fingerprint in (C, D):
        finish(directory, fingerprint)
    assert snapshot(tmp_path / "train.aaaaaaaa") == before
    assert "why-this-is-the-best.md" in caplog.text
    assert not (tmp_path / "train.bbbbbbbb").exists()
    # it would have to move back
    assert_refused(directory.with_name("train"), A, "why-this-is-the-best.md")


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


DAMAGED = [b"", b'{"version": 1, "experimentUid": "u', b"\0" * 100, b'{"experimentUid": "u", "token": 3}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_training_whose_run_file_is_damaged_continues(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    checkpoint(directory / "model.step-5.tlt", A)
    write(directory, "model.step-6.tlt")  # the newest is damaged, too
    (directory / "run.json").write_bytes(content)
    before = snapshot(directory)
    assert start(directory, A)
    assert read_run(directory)
    assert {**snapshot(directory), "run.json": content} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]


def test_an_encrypted_training_whose_run_file_is_damaged_continues(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    checkpoint(directory / "model.step-5.tlt", A, "secret")
    write(directory, "run.json")
    for key in (None, "wrong"):
        with pytest.raises(InvalidInput) as caught:
            claim(directory, experiment_uid="uid", attempt=1, fingerprint=A, key=key)
        assert caught.value.reason == "WrongKey"
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=A, key="secret")
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]


def test_a_result_of_this_fingerprint_stays_without_its_run_file(tmp_path: Path) -> None:
    directory = tmp_path / "evaluate"
    for content in (None, b"", b"{"):
        result(directory, A)
        write(directory, "metrics.json", "detections.json")
        if content is not None:
            (directory / "run.json").write_bytes(content)
        claim(directory, experiment_uid="uid", attempt=1, fingerprint=A)
        assert (directory / "metrics.json").exists()
        (directory / "run.json").unlink()
    start(directory, B)
    assert (tmp_path / "evaluate.aaaaaaaa" / "metrics.json").exists()


def test_a_training_that_lost_its_run_file_continues(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    checkpoint(directory / "model.step-5.tlt", A)
    assert_refused(directory, B, "model.step-5.tlt")
    start(directory, A)
    assert (directory / "model.step-5.tlt").exists()


def test_damaged_results_of_anything_else_are_moved_aside_and_never_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "train"
    for number in range(1, 4):
        start(directory, A)
        checkpoint(directory / "model.step-5.tlt", B)
        (directory / "run.json").write_bytes(b"\0")
        if number == 3:
            result(directory, B)
        start(directory, A if number < 3 else C)
        assert f"train.damaged-{number}" in caplog.text
    for fingerprint in (A, B, C, D):
        start(directory, fingerprint)
    for number in range(1, 4):
        assert (tmp_path / f"train.damaged-{number}" / "model.step-5.tlt").exists()


def test_damaged_results_with_a_file_of_the_users_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    write(directory, "run.json", "notes.txt")
    assert_refused(directory, A, "notes.txt")


def test_images_that_were_added_to_those_of_an_inference_are_the_users(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    finish(directory, A)
    write(directory, "images_annotated/a.png", "images_annotated/sub/b.webp.png", "predictions.json")
    for label in ("a.json", "sub/b.json"):
        (directory / "labels" / label).parent.mkdir(parents=True, exist_ok=True)
        (directory / "labels" / label).write_text("[]")
    result(directory, A, images_annotated=str(directory / "images_annotated"))
    write(directory, "images_annotated/mine.png")
    assert_refused(directory, B, "images_annotated/mine.png")
    (directory / "images_annotated" / "mine.png").unlink()
    (directory / "labels" / "coco.json").write_text('{"images": []}')
    assert_refused(directory, B, "labels/coco.json")
    (directory / "labels" / "coco.json").unlink()
    finish(directory, B)
    finish(directory, C)
    assert sorted(folders(tmp_path)) == ["infer", "infer.bbbbbbbb"]


def test_an_inference_that_was_cut_short_is_ours(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    start(directory, A)
    write(directory, "images_annotated/a.png", "images_annotated/.b.png.7.partial")
    (directory / "labels").mkdir()
    (directory / "labels" / "c.json").write_text("[]")
    start(directory, B)
    assert (tmp_path / "infer.aaaaaaaa" / "images_annotated" / "a.png").exists()


@pytest.mark.parametrize("how", ["itself", "link", "pattern", "link to a pattern", "dots", "mapped"])
def test_what_the_task_reads_does_not_move(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(("number", "kind"), [(13, InvalidInput), (5, TryAgain)])
def test_a_directory_that_cannot_be_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    (directory / "sub").mkdir()
    scandir = os.scandir

    def locked(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    monkeypatch.setattr("maskrcnn_trainer.results.contents.os.scandir", locked)
    with pytest.raises(kind, match="be looked into"):
        start(directory, B)
    assert read_run(directory)


def test_names_that_no_terminal_takes_are_reported(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    (directory / os.fsdecode(b"a\xff\n.png")).touch()
    assert_refused(directory, A, r"'a\\udcff\n.png'")


@pytest.mark.parametrize(("number", "kind"), [(16, InvalidInput), (18, InvalidInput), (116, TryAgain)])
def test_a_directory_that_cannot_be_moved_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    directory = tmp_path / "train"
    start(directory, A)

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(kind, match="cannot be moved to"):
        start(directory, B)
    assert read_run(directory)


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
    """One that looks, then moves, would move what another has put there in between."""
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
    """As that of a node that died, which a file server keeps."""
    monkeypatch.setattr("maskrcnn_trainer.results.ownership.LOCK_SECONDS", 0.1)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    start(tmp_path / "train", A)
    os.close(descriptor)
    assert folders(tmp_path) == {"train": A}
    assert "the claim goes on without the lock" in caplog.text


def test_a_file_system_without_locks_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", fail)
    for fingerprint in (A, B):
        start(tmp_path / "train", fingerprint)
    assert folders(tmp_path) == {"train": B, "train.aaaaaaaa": A}


Prepare = Callable[[Path], None]


def _raw_images(directory: Path) -> None:
    write(directory, "0.png", "1.png", "below/2.png")


def _annotations(directory: Path) -> None:
    write(directory, "train.json")


def _link_to_images(directory: Path) -> None:
    _raw_images(directory.parent.parent / "elsewhere")
    directory.symlink_to(directory.parent.parent / "elsewhere")


def _links_in_the_directory(directory: Path) -> None:
    _raw_images(directory.parent.parent / "elsewhere")
    directory.mkdir(parents=True)
    (directory / "0.png").symlink_to(directory.parent.parent / "elsewhere" / "0.png")


def _hand_made_archive(directory: Path) -> None:
    directory.mkdir(parents=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("0.png", b"raw")
    (directory / "model.tlt").write_bytes(content.getvalue())


def _results_of_a_removed_step(directory: Path) -> None:
    start(directory, D)
    write(directory, "model.step-9.tlt", "notes.txt")


@pytest.mark.parametrize(
    "prepare",
    [
        _raw_images,
        _annotations,
        _link_to_images,
        _links_in_the_directory,
        _hand_made_archive,
        _results_of_a_removed_step,
    ],
)
@pytest.mark.parametrize("name", ["nuclei/images", "raw/images", "nuclei/train"])
def test_no_file_of_the_users_is_gone_after_three_edits(
    tmp_path: Path, name: str, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="maskrcnn_trainer")
    directory = tmp_path / name
    directory.parent.mkdir(parents=True)
    prepare(directory)
    before = snapshot(tmp_path)
    task = ("dataset_convert", "-i", str(directory), "-a", f"{directory}/train.json", "-o", str(directory))
    for fingerprint in (A, B, C):
        with pytest.raises(InvalidInput):
            claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint, task=task)
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_directory_that_cannot_be_looked_at_is_not_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write(tmp_path / "train", "mine.tlt")
    look = Path.lstat

    def fail(path: Path) -> os.stat_result:
        if Path(path).name == "train":
            raise OSError(number, "gone")
        return look(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "lstat", fail)
        patched.setattr(os, "lstat", fail)
        with pytest.raises(TryAgain):
            claim(tmp_path / "train", experiment_uid="uid", attempt=1, fingerprint=A)
    assert snapshot(tmp_path) == {"train/mine.tlt": b"mine.tlt"}


def test_results_that_stand_aside_and_cannot_be_read_at_the_moment_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "train", A)
    start(tmp_path / "train", B)
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.parent.name == "train.aaaaaaaa":
            raise OSError(errno.EIO, "gone")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail)
        with pytest.raises(TryAgain):
            claim(tmp_path / "train", experiment_uid="uid", attempt=1, fingerprint=A)
    start(tmp_path / "train", A)
    assert folders(tmp_path) == {"train": A, "train.bbbbbbbb": B}


def test_a_directory_with_a_checkpoint_of_any_damage_moves(tmp_path: Path) -> None:
    start(tmp_path / "train", A)
    checkpoint(tmp_path / "train" / "model.step-10.tlt", A)
    content = bytearray((tmp_path / "train" / "model.step-10.tlt").read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1  # as if it were encrypted
    (tmp_path / "train" / "model.step-10.tlt").write_bytes(content)
    start(tmp_path / "train", B)
    assert folders(tmp_path) == {"train": B, "train.aaaaaaaa": A}


def test_results_that_stand_aside_and_may_not_be_read_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path / "train", A)
    start(tmp_path / "train", B)
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.parent.name == "train.aaaaaaaa":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", fail)
        with pytest.raises(InvalidInput, match=r"train\.aaaaaaaa"):
            claim(tmp_path / "train", experiment_uid="uid", attempt=1, fingerprint=A)
        start(tmp_path / "train", C)  # of no use to another one
    assert folders(tmp_path) == {"train": C, "train.aaaaaaaa": A, "train.bbbbbbbb": B}


def test_a_parent_that_may_not_be_read_is_no_passing_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path / "train", A)

    def fail(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", fail)
        with pytest.raises(InvalidInput, match="may not be looked at"):
            claim(tmp_path / "train", experiment_uid="uid", attempt=2, fingerprint=A)


def test_files_that_killed_tasks_left_half_written_are_removed(tmp_path: Path) -> None:
    names = [".model.step-5.tlt.77.partial", ".notes.77.partial", "model.step-5.tlt.partial"]
    write(tmp_path / "train", names[0])
    start(tmp_path / "train", A)
    assert (tmp_path / "train" / names[0]).exists()  # nobody had claimed the directory
    write(tmp_path / "train", *names)
    start(tmp_path / "train", A)
    left = {path.name for path in (tmp_path / "train").iterdir()}
    assert left == {"run.json", "status.json", *names[1:]}


def test_attempts_without_results_do_not_displace_older_results(tmp_path: Path) -> None:
    """Two edits with a mistake in them after a month's training."""
    directory = tmp_path / "train"
    start(directory, A)
    checkpoint(directory / "model.step-5.tlt", A)
    for fingerprint in (B, C, D):
        start(directory, fingerprint)
        write(directory, "logs/attempt-1.node-0.log")
    assert sorted(folders(tmp_path)) == ["train", "train.aaaaaaaa", "train.cccccccc"]
    start(directory, A)
    assert (directory / "model.step-5.tlt").exists()
