"""Status file of a local run: it always has either the old or the new content."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_operator.api.status import ExperimentStatus, format_time
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


def metadata(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())["metadata"])


def test_identity_stays_the_same(tmp_path: Path) -> None:
    with StatusStore(tmp_path, "shapes") as store:
        store.write(ExperimentStatus())
        first = store.identity
    with StatusStore(tmp_path, "shapes") as store:
        assert store.identity == first
    assert metadata(store.file) == {
        "name": "shapes",
        "uid": first.uid,
        "creationTimestamp": format_time(first.created),
        "ownerId": first.owner_id,
    }


def test_status_of_an_older_release_gets_time_and_owner_at_the_next_write(tmp_path: Path) -> None:
    file = tmp_path / "experiment-status.json"
    file.write_text(json.dumps({"metadata": {"name": "shapes", "uid": "u"}, "status": {}}))
    with StatusStore(tmp_path, "shapes") as store:
        store.write(ExperimentStatus())
    with StatusStore(tmp_path, "shapes") as again:
        assert again.identity == store.identity
    assert (again.identity.uid, metadata(file)["creationTimestamp"]) == ("u", format_time(store.identity.created))


def test_owner_that_is_given_replaces_the_recorded_one_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for given, expected in (("first", "first"), ("second", "second"), (None, "second")):
        with StatusStore(tmp_path, "shapes", owner_id=given) as store:
            store.write(ExperimentStatus())
        assert metadata(store.file)["ownerId"] == expected
    assert [record.getMessage() for record in caplog.records] == [f"The owner id second replaces first of {store.file}"]


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("creationTimestamp", "yesterday", "metadata.creationTimestamp must be a time, such as 2026-01-31T12:00:00Z"),
        ("creationTimestamp", "2026-13-31T12:00:00Z", "metadata.creationTimestamp must be a time"),
        ("creationTimestamp", 7, "metadata.creationTimestamp must be a time"),
        ("ownerId", "a/b", "metadata.ownerId must be 1 to 128 letters"),
        ("ownerId", 7, "metadata.ownerId must be 1 to 128 letters"),
    ],
)
def test_invalid_identity_is_refused(tmp_path: Path, member: str, value: object, message: str) -> None:
    (tmp_path / "experiment-status.json").write_text(
        json.dumps({"metadata": {"uid": "u", member: value}, "status": {}})
    )
    with pytest.raises(InvalidInput, match=message), StatusStore(tmp_path, "shapes"):
        pass


@pytest.mark.parametrize(
    ("first", "second", "remedy"),
    [
        (None, "s3://b/p", "a workspace that is a directory: leave --state-dir out"),
        ("s3://b/p", None, "the workspace s3://b/p: give another --workspace"),
        ("s3://b/p", "s3://b/q", "the workspace s3://b/p: leave --state-dir out"),
    ],
)
def test_status_of_another_workspace_is_refused(
    tmp_path: Path, first: str | None, second: str | None, remedy: str
) -> None:
    with StatusStore(tmp_path, "shapes", url=first) as store:
        store.write(ExperimentStatus())
    with pytest.raises(InvalidInput, match=remedy), StatusStore(tmp_path, "shapes", url=second):
        pass
