"""Atomic replacement of a file, from bytes or from a stream."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_trainer.shared.files import is_abandoned, replace_file, replacing


def test_new_content_is_on_disk_before_it_replaces_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "status.json"
    replace_file(file, b"old")
    on_disk: list[tuple[str, str]] = []

    def record(descriptor: int) -> None:
        partial = next(path for path in tmp_path.iterdir() if path.samefile(f"/proc/self/fd/{descriptor}"))
        on_disk.append((partial.read_text(), file.read_text()))

    monkeypatch.setattr(os, "fsync", record)
    replace_file(file, b"new")
    assert on_disk == [("new", "old")]
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_block_that_raises_leaves_the_old_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "tensors.hdf5"
    file.write_bytes(b"old")
    with pytest.raises(ValueError, match="broken"), replacing(file) as stream:
        stream.write(b"half")
        raise ValueError("broken")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("tensors.hdf5", b"old")]


def test_unfinished_file_is_not_abandoned_while_it_is_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "tensors.hdf5") as stream:
        stream.write(b"half")
        (unfinished,) = tmp_path.iterdir()
        assert not is_abandoned(unfinished)
