"""Results that are damaged, have no run file, or cannot be read or moved."""

from __future__ import annotations

import errno
import os
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
    folders,
    result,
    snapshot,
    start,
    write,
)

from maskrcnn_trainer.errors import InvalidInput, TryAgain
from maskrcnn_trainer.results.ownership import claim
from maskrcnn_trainer.results.run_file import read_run

DAMAGED = [b"", b'{"version": 1, "experimentUid": "u', b"\0" * 100, b'{"experimentUid": "u", "token": 3}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_training_whose_run_file_is_damaged_continues(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    checkpoint(directory / "model.step-5.tlt", A)
    write(directory, "model.step-6.tlt")  # the newest checkpoint is damaged too
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
    with pytest.raises(kind, match="cannot be read"):
        start(directory, B)
    assert read_run(directory)


def test_names_that_are_not_printable_are_reported(tmp_path: Path) -> None:
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


def test_moved_results_that_cannot_be_read_at_the_moment_are_not_repeated(
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
    content[central + 8] |= 1  # the flag of an encrypted member
    (tmp_path / "train" / "model.step-10.tlt").write_bytes(content)
    start(tmp_path / "train", B)
    assert folders(tmp_path) == {"train": B, "train.aaaaaaaa": A}


def test_moved_results_without_read_permission_are_not_repeated(
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
        start(tmp_path / "train", C)  # another fingerprint doesn't need the results
    assert folders(tmp_path) == {"train": C, "train.aaaaaaaa": A, "train.bbbbbbbb": B}


def test_parent_without_read_permission_is_not_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path / "train", A)

    def fail(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", fail)
        with pytest.raises(InvalidInput, match="cannot be read"):
            claim(tmp_path / "train", experiment_uid="uid", attempt=2, fingerprint=A)
