"""Loading of published files into a directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.object_store.clients import client_of
from tests.unit.object_store.fence_stores import published_file
from tests.unit.object_store.stub_server import Answer, StubServer, serving

from maskrcnn_trainer.errors import InvalidInput, as_task_error
from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.object_store.verified_files import fetch_verified

LARGE = bytes(range(256)) * 140_000
"""Content of three parts."""


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={}) as server:
        yield server


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Return the directory that is filled."""
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


def stored(server: StubServer, content: bytes, path: str, number: int = 0) -> PublishedFile:
    """Return the record of a file that the store has."""
    file = published_file(content, path, number)
    server.objects["b"][f"ws/{file.key}"] = content
    return file


def fetch(server: StubServer, into: Path, *files: PublishedFile) -> frozenset[str]:
    """Load files through a client."""
    with client_of(server, into.parent) as client:
        return fetch_verified(client, files, into, key_of=lambda key: f"ws/{key}")


def names(directory: Path) -> set[str]:
    """Return the paths of all files and links below a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_symlink() or path.is_file()}


def test_files_of_all_sizes_are_written_and_no_others(server: StubServer, into: Path) -> None:
    contents = {"a": b"a", "deep/er/large": LARGE, "empty": b"", **{f"many/{n}": b"%d" % n for n in range(50)}}
    files = [stored(server, content, path, number) for number, (path, content) in enumerate(contents.items())]
    assert fetch(server, into, *files) == {file.key for file in files}
    assert {name: (into / name).read_bytes() for name in names(into)} == contents


def test_received_bytes_are_counted(server: StubServer, into: Path) -> None:
    counted: list[int] = []
    with client_of(server, into.parent) as client:
        file = stored(server, LARGE, "large")
        fetch_verified(client, [file], into, key_of=lambda key: f"ws/{key}", on_bytes=counted.append)
    assert sum(counted) == len(LARGE)


def test_absent_file_is_left_out(server: StubServer, into: Path) -> None:
    absent = published_file(LARGE, "absent", 1)
    there = stored(server, b"x", "there")
    assert fetch(server, into, absent, there) == {there.key}
    assert names(into) == {"there"}


def test_file_with_other_bytes_is_loaded_again_once(server: StubServer, into: Path) -> None:
    file = stored(server, b"right", "file")
    wrong = iter([Answer(206, b"wrong", {"ETag": '"e"', "Content-Range": "bytes 0-4/5"})])
    server.plan = lambda _: next(wrong, None)
    assert fetch(server, into, file) == {file.key}
    assert (into / "file").read_bytes() == b"right"
    assert len(server.seen) == 2


@pytest.mark.parametrize("content", [b"wrong", b"of another size"])
def test_file_with_other_bytes_twice_is_64_by_name(server: StubServer, into: Path, content: bytes) -> None:
    file = published_file(b"right", "file")
    server.objects["b"][f"ws/{file.key}"] = content
    (into / "file").write_bytes(b"before")
    with pytest.raises(InvalidInput, match=f"s3://b/ws/{file.key}.*5 bytes and the SHA-256 of file ") as caught:
        fetch(server, into, file)
    assert caught.value.exit_code == 64
    assert len(server.seen) == 2
    assert {name: (into / name).read_bytes() for name in names(into)} == {"file": b"before"}


def test_forged_size_of_an_exabyte_costs_a_few_requests(server: StubServer, into: Path) -> None:
    file = replace(stored(server, b"x", "file"), size=10**18)
    with pytest.raises(InvalidInput, match="hasn't the"):
        fetch(server, into, file)
    assert len(server.seen) <= 2 * 16
    assert names(into) == set()


@pytest.mark.parametrize("path", ["../outside", "/outside", "a/../../outside", "a//b", "", ".", "a\\b", "a\nb"])
def test_unsafe_path_is_refused_before_any_request(server: StubServer, into: Path, path: str) -> None:
    file = replace(stored(server, b"x", "file"), path=path)
    with pytest.raises(InvalidInput, match="the path"):
        fetch(server, into, file)
    assert not server.seen
    assert names(into.parent) <= {f"s3/{name}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


def test_link_in_the_place_of_a_directory_is_not_followed(server: StubServer, into: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (into / "models").symlink_to(outside)
    with pytest.raises(OSError, match="models/m.h5") as caught:
        fetch(server, into, stored(server, b"x", "models/m.h5"))
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    known = as_task_error(caught.value)
    assert known is not None
    assert known.exit_code == 64
    assert not names(outside)
    assert names(into) == {"models"}


def test_link_in_the_place_of_a_file_is_replaced(server: StubServer, into: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    (into / "file").symlink_to(outside)
    fetch(server, into, stored(server, b"x", "file"))
    assert outside.read_bytes() == b"outside"
    assert not (into / "file").is_symlink()


def test_hard_link_keeps_the_content_before(server: StubServer, into: Path) -> None:
    (into / "file").write_bytes(b"before")
    os.link(into / "file", into / "snapshot")
    fetch(server, into, stored(server, b"after", "file"))
    assert (into / "snapshot").read_bytes() == b"before"


def test_file_is_synced_before_it_has_its_name(server: StubServer, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[set[str]] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(names(into)))
    fetch(server, into, stored(server, b"x", "file"))
    assert len(synced) == 1
    assert "file" not in synced[0]


def test_file_in_the_place_of_a_directory_is_named(server: StubServer, into: Path) -> None:
    (into / "a").write_bytes(b"x")
    with pytest.raises(NotADirectoryError, match="into/a/b"):
        fetch(server, into, stored(server, b"x", "a/b"))
    assert names(into) == {"a"}
