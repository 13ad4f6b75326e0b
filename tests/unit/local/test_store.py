"""The file of a local run's status: the old content or the new, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskrcnn_operator.local.store import StatusStore, write_atomically
from maskrcnn_trainer.errors import InvalidInput


def test_new_content_is_on_disk_before_it_replaces_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "status.json"
    write_atomically(file, "old")
    on_disk: list[tuple[str, str]] = []

    def record(descriptor: int) -> None:
        partial = next(path for path in tmp_path.iterdir() if path.samefile(f"/proc/self/fd/{descriptor}"))
        on_disk.append((partial.read_text(), file.read_text()))

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(file, "new")
    assert on_disk == [("new", "old")]
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"metadata": 1}'])
def test_a_file_that_is_no_status_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    (tmp_path / "experiment-status.json").write_text(content)
    with pytest.raises(InvalidInput, match="move it away"), StatusStore(tmp_path, "shapes"):
        pass
    assert (tmp_path / "experiment-status.json").read_text() == content
