"""Tests of the loading of one large file by parts, on the stub server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.object_store.clients import AT_ONCE, client_of
from tests.unit.object_store.stub_server import Answer, Seen, StubServer, refusal, serving

from maskrcnn_trainer.errors import InvalidInput, TaskError
from maskrcnn_trainer.object_store.client import PART_BYTES
from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.object_store.resumed_file import fetch_resumed, is_resumable, resumed_bytes

CONTENT = secrets.token_bytes(2 * PART_BYTES + 1000)
FILE = PublishedFile("model", "exp/train/o/1-t-0-model", len(CONTENT), sha256(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={f"ws/{FILE.key}": CONTENT}) as server:
        yield server


def load(server: StubServer, folder: Path, file: PublishedFile = FILE, counted: list[int] | None = None) -> Path | None:
    with client_of(server, folder.parent, policy=AT_ONCE) as client:
        on_bytes = (lambda _: None) if counted is None else counted.append
        return fetch_resumed(client, file, folder, key_of=lambda key: f"ws/{key}", on_bytes=on_bytes)


def starts(server: StubServer) -> list[str]:
    """Return the ranges of the reads."""
    return sorted(seen.headers["range"].split("-")[0] for seen in server.seen if seen.method == "GET")


def test_file_is_loaded_and_verified(server: StubServer, tmp_path: Path) -> None:
    counted: list[int] = []
    loaded = load(server, tmp_path / "parts", counted=counted)
    assert loaded is not None
    assert loaded.read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)


def test_second_call_loads_the_parts_that_the_first_has_not(server: StubServer, tmp_path: Path) -> None:
    third = f"bytes={2 * PART_BYTES}-"

    def refuse_the_third(seen: Seen) -> Answer | None:
        return refusal(403, "AccessDenied") if seen.headers.get("range", "").startswith(third) else None

    server.plan = refuse_the_third
    with pytest.raises(TaskError):
        load(server, tmp_path / "parts")
    before = resumed_bytes(tmp_path / "parts")
    server.plan = lambda _: None
    server.seen.clear()
    counted: list[int] = []
    loaded = load(server, tmp_path / "parts", counted=counted)
    assert loaded is not None
    assert loaded.read_bytes() == CONTENT
    assert before + sum(counted) == len(CONTENT)
    assert len(starts(server)) == 3 - before // PART_BYTES


def test_damaged_part_of_an_earlier_call_is_loaded_again(server: StubServer, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "data").write_bytes(b"x" * PART_BYTES)
    (folder / "parts").write_text(f"0 {PART_BYTES}\n")
    loaded = load(server, folder)
    assert loaded is not None
    assert loaded.read_bytes() == CONTENT


def test_absent_object_is_none(server: StubServer, tmp_path: Path) -> None:
    assert load(server, tmp_path / "parts", replace(FILE, key="exp/train/o/1-t-9-absent")) is None


@pytest.mark.parametrize("size", [len(CONTENT) - 1, 10**17])
def test_object_of_another_size_is_refused_without_a_read(server: StubServer, size: int, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"hasn't the {size} bytes"):
        load(server, tmp_path / "parts", replace(FILE, size=size))
    assert starts(server) == []


def test_object_with_other_bytes_is_refused_and_leaves_nothing(server: StubServer, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="SHA-256"):
        load(server, tmp_path / "parts", replace(FILE, sha256="0" * 64))
    assert not (tmp_path / "parts").exists()


def test_link_in_place_of_the_folder_is_refused(server: StubServer, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "parts").symlink_to(tmp_path / "outside")
    with pytest.raises(InvalidInput, match="not a link"):
        load(server, tmp_path / "parts")
    assert list((tmp_path / "outside").iterdir()) == []


def test_file_of_one_part_is_not_resumed() -> None:
    assert not is_resumable(replace(FILE, size=PART_BYTES))
    assert is_resumable(replace(FILE, size=PART_BYTES + 1))
