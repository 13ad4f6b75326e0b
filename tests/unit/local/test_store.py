"""Status file of a local run: it always has either the old or the new content."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.local.store import StatusStore
from maskrcnn_trainer.errors import InvalidInput


def test_write_that_fails_names_the_status_file_and_keeps_the_old_content(tmp_path: Path) -> None:
    with StatusStore(tmp_path, "shapes") as store:
        store.write(ExperimentStatus())
        old = store.file.read_bytes()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            with pytest.raises(OSError, match="File too large") as refused:
                store.write(ExperimentStatus())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.filename == str(store.file)
    assert (store.file.read_bytes(), sorted(tmp_path.iterdir())) == (old, [tmp_path / ".lock", store.file])


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"metadata": 1}'])
def test_invalid_status_file_is_refused_and_kept(tmp_path: Path, content: str) -> None:
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
        (b"[" + b"9" * 5000 + b"]", "a number in it is too large"),
        (b"[" * 100_000, "it is nested too deeply"),
        (
            b'{"metadata": {"uid": "x"}, "status": {"steps": [{"name": 5, "state": "Odd"}], "progress": 7}}',
            "status.steps[0].name: found 5; it must be a string; put it in quotes, and 2 more",
        ),
    ],
    ids=range(6),
)
def test_invalid_status_file_is_explained_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "experiment-status.json"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught, StatusStore(tmp_path, "shapes"):
        pass
    assert str(caught.value) == f"{file} isn't a valid experiment status ({message}): move it away"
