"""Uploads of the helper process."""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import obstore
import pytest
from obstore.store import AzureStore
from tests.unit.object_store.clients import SCHEMES, client_of
from tests.unit.object_store.stub_server import Answer, Seen, refusal, serving

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.object_store.failures import Failure, FailureKind
from maskrcnn_trainer.object_store.fence.records import ObjectVersion
from maskrcnn_trainer.object_store.helper_errors import Failed
from maskrcnn_trainer.object_store.helper_writes import UPLOAD_PART, UploadRoom, sign_link
from maskrcnn_trainer.object_store.writing import Upload, WriteOutcome

LARGE = bytes(range(256)) * (UPLOAD_PART // 256 + 100)


def upload_of(file: Path, content: bytes, key: str = "k") -> Upload:
    """Write a file, and return its upload."""
    file.write_bytes(content)
    return Upload(key, file, len(content), sha256(content).hexdigest())


def test_room_is_taken_until_it_is_given_back() -> None:
    room = UploadRoom(10)
    entered = threading.Event()

    def take() -> None:
        with room.taken(5):
            entered.set()

    thread = threading.Thread(target=take)
    with room.taken(6):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


def test_more_than_the_room_takes_all_of_it() -> None:
    room = UploadRoom(10)
    with room.taken(1000):
        pass
    with room.taken(10):
        pass


@pytest.mark.parametrize("scheme", SCHEMES)
def test_failed_part_alone_is_sent_again(tmp_path: Path, scheme: str) -> None:
    upload = upload_of(tmp_path / "large", LARGE)
    failures = [refusal(503, "SlowDown")]

    def fail_once(seen: Seen) -> Answer | None:
        is_part = seen.method == "PUT" and len(seen.body) == UPLOAD_PART
        return failures.pop() if is_part and failures else None

    waits: list[str] = []
    with serving(b={}) as server, client_of(server, tmp_path, scheme, on_wait=waits.append) as client:
        server.plan = fail_once
        assert list(client.upload([upload])) == [upload]
        assert server.objects["b"]["k"] == LARGE
        assert sorted(len(seen.body) for seen in server.seen if len(seen.body) > 1024) == sorted(
            [UPLOAD_PART, UPLOAD_PART, len(LARGE) - UPLOAD_PART]
        )
    assert not waits


def test_large_file_that_has_changed_is_not_reported_as_uploaded(tmp_path: Path) -> None:
    upload = upload_of(tmp_path / "large", LARGE)
    (tmp_path / "large").write_bytes(LARGE[::-1])
    with serving(b={}) as server, client_of(server, tmp_path) as client, pytest.raises(TryAgain, match="SHA-256"):
        list(client.upload([upload]))


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    upload = upload_of(tmp_path / "file", b"x")
    (tmp_path / "file").unlink()
    with serving(b={}) as server, client_of(server, tmp_path) as client, pytest.raises(FileNotFoundError, match="file"):
        list(client.upload([upload]))


def test_link_of_azure_without_the_accounts_key_is_refused_for_a_name_that_is_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = AzureStore("c", account_name="lab", bearer_token="x")  # noqa: S106

    def sign(_: object, _method: str, key: str, _seconds: object) -> str:
        return f"https://lab.blob.core.windows.net/c/{quote(key)}?sv=2023-11-03&sig=x"

    monkeypatch.setattr(obstore, "sign", sign)
    assert sign_link(store, {"key": "a/b", "seconds": 60})["url"].endswith("/c/a/b?sv=2023-11-03&sig=x")
    with pytest.raises(Failed) as error:
        sign_link(store, {"key": "a b", "seconds": 60})
    assert error.value.failure == Failure(FailureKind.UNSIGNABLE, detail="a b")


def types_of(seen: list[Seen]) -> list[str]:
    """Return the media types that requests give to objects."""
    names = ("x-ms-blob-content-type", "content-type")
    return [next((request.headers[name] for name in names if name in request.headers), "") for request in seen]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_upload_has_the_type_of_its_name(tmp_path: Path, scheme: str) -> None:
    uploads = [upload_of(tmp_path / "a", b"x", "o/1-t-0-report.html"), upload_of(tmp_path / "b", b"x", "o/1-t-1-model")]
    with serving(b={}) as server, client_of(server, tmp_path, scheme, concurrency=1) as client:
        assert list(client.upload(uploads)) == uploads
        page, other = server.seen
    assert types_of([page]) == ["text/html; charset=utf-8"]
    assert types_of([other])[0] in ("", "application/octet-stream")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_upload_in_parts_has_the_type_of_its_name(tmp_path: Path, scheme: str) -> None:
    upload = upload_of(tmp_path / "large", LARGE, "o/1-t-0-report.html")
    with serving(b={}) as server, client_of(server, tmp_path, scheme) as client:
        assert list(client.upload([upload])) == [upload]
        assert server.objects["b"][upload.key] == LARGE
        assert "text/html; charset=utf-8" in types_of(server.seen)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_conditional_write_has_the_type_of_its_name(tmp_path: Path, scheme: str) -> None:
    with serving(b={}) as server, client_of(server, tmp_path, scheme) as client:
        created = client.create("run.json", b"{}")
        assert isinstance(created, ObjectVersion)
        assert isinstance(client.update("run.json", b"[]", created), ObjectVersion)
        assert client.create("run.json", b"{}") is WriteOutcome.EXISTS
        assert client.update("run.json", b"{}", created) is WriteOutcome.CHANGED
        assert types_of(server.seen) == ["application/json"] * 4
