"""Removal of unfinished files of killed tasks."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskrcnn_trainer.results.leftovers import remove_leftovers
from maskrcnn_trainer.shared.files import open_unfinished
from maskrcnn_trainer.task.files import write_atomically

KILLED = (
    "import os, signal, sys; from pathlib import Path; from maskrcnn_trainer.task.files import write_atomically\n"
    "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
    "write_atomically(Path(sys.argv[1]), bytes(500_000))"
)


def kill_a_writer_of(path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -signal.SIGKILL
    assert not path.exists()


def test_unfinished_files_of_killed_writers_are_removed_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kill_a_writer_of(tmp_path / "model.step-2.tlt")
    kill_a_writer_of(tmp_path / "metrics.json")
    assert len(list(tmp_path.iterdir())) == 2
    with caplog.at_level(logging.INFO):
        remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert f"Removed 2 unfinished files of killed runs from {tmp_path} (1.0 MB)" in caplog.text


def test_the_file_of_a_living_writer_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.step-2.tlt"
    write_atomically(path, b"whole", before_rename=lambda: remove_leftovers(tmp_path))
    assert path.read_bytes() == b"whole"


def test_outputs_named_by_the_user_are_looked_for_and_no_other_names(tmp_path: Path) -> None:
    mine = [".notes.txt.12345678.partial", ".small.tlt.partial", ".small.tlt.x.partial", ".xsmall.tlt.1.partial"]
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".small.tlt.12345678.partial").write_bytes(b"")
    (tmp_path / ".small.tlt.7.partial").symlink_to(tmp_path / mine[0])
    remove_leftovers(tmp_path, outputs=[tmp_path / "small.tlt"])
    assert {path.name for path in tmp_path.iterdir()} == {*mine, ".small.tlt.7.partial"}


def test_without_locks_nothing_is_taken_for_abandoned_but_a_claimed_directory_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    aside, stream = open_unfinished(tmp_path / "model.step-2.tlt")
    with stream:
        remove_leftovers(tmp_path)
        assert aside.exists()
    remove_leftovers(tmp_path, claimed=True)
    assert not aside.exists()


def test_a_file_taken_for_abandoned_before_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, made = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if not made:
            made.append(next(tmp_path.iterdir()))
            made[0].unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(tmp_path / "model.tlt", b"whole")
    assert (tmp_path / "model.tlt").read_bytes() == b"whole"
