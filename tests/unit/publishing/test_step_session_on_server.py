"""Sessions with a server, through the store's client and its helper process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.object_store.clients import SCHEMES
from tests.unit.object_store.fence_stores import fence_store
from tests.unit.object_store.stub_server import StubServer, serving
from tests.unit.publishing.file_store import session_of, write_file, write_result

from maskrcnn_trainer.errors import TaskError
from maskrcnn_trainer.publishing.step_publisher import StepPublisher


@pytest.fixture
def server() -> Iterator[StubServer]:
    with serving(b={}) as server:
        yield server


def publish(server: StubServer, directory: Path, scheme: str) -> None:
    """Publish a checkpoint, then all of a finished step."""
    results = directory / "first" / "train"
    results.mkdir(parents=True)
    session = session_of(fence_store(server, directory, scheme))
    session.claim()
    published = threading.Event()
    with StepPublisher(
        session, results, on_superseded=lambda _: None, on_published=lambda _: published.set()
    ) as publisher:
        write_file(results, "model.step-1.tlt", "one" * 1000)
        publisher.checkpoint(1)
        assert published.wait(20)
        write_file(results, "labels/below/ä b.json", "[]")
        write_result(results)
        publisher.finish(seconds=20)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_finished_step_is_restored_by_its_next_start(server: StubServer, tmp_path: Path, scheme: str) -> None:
    publish(server, tmp_path, scheme)
    session = session_of(fence_store(server, tmp_path, scheme), "bb")
    claim = session.claim()
    into = tmp_path / "second" / "train"
    session.restore(claim.published, into)
    assert claim.is_done
    assert (into / "model.step-1.tlt").read_text() == "one" * 1000
    assert (into / "labels/below/ä b.json").read_text() == "[]"
    assert (into / "result.json").read_bytes() == (tmp_path / "first/train/result.json").read_bytes()


def test_changed_object_is_not_restored(server: StubServer, tmp_path: Path) -> None:
    publish(server, tmp_path, "s3")
    key = next(key for key in server.objects["b"] if key.endswith("model.step-1.tlt"))
    server.objects["b"][key] = b"two" * 1000
    session = session_of(fence_store(server, tmp_path), "bb")
    published = session.claim().published
    with pytest.raises(TaskError, match=r"model\.step-1\.tlt"):
        session.restore(published, tmp_path / "second")
    assert not (tmp_path / "second/model.step-1.tlt").exists()
    assert not (tmp_path / "second/result.json").exists()
