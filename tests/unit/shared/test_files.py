"""Replacing a file as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_trainer.shared.files import replace_file


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
