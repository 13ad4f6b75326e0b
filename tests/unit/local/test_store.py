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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "line 1: invalid JSON"),
        (b"[]", "it has no metadata.uid or status"),
        (b"\xff", "it isn't UTF-8"),
        (b"[" + b"9" * 5000 + b"]", "it has a number that is too large"),
        (b"[" * 100_000, "it is nested too deeply"),
        (
            b'{"metadata": {"uid": "x"}, "status": {"steps": [{"name": 5, "state": "Odd"}], "progress": 7}}',
            "status.steps[0].name: found 5; it must be a text; put it in quotes, and 2 more",
        ),
    ],
    ids=range(6),
)
def test_why_a_file_is_no_status_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "experiment-status.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught, StatusStore(tmp_path, "shapes"):
        pass
    assert str(caught.value) == f"{file} is not the status of an experiment ({message}): move it away"
