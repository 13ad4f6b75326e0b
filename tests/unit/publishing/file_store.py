"""Store in memory that uploads and loads real files, and can be made to fail."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from pathlib import Path

from tests.unit.object_store.fence.memory_store import MemoryStore

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.object_store.fence.exchange_types import (
    FenceAnswer,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    PutFiles,
    UploadedKeys,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, PublishedSet, StepPointer
from maskrcnn_trainer.object_store.fence.untrusted import parse_manifest, parse_pointer
from maskrcnn_trainer.publishing.published_files import is_published
from maskrcnn_trainer.publishing.step_claiming import StepIdentity
from maskrcnn_trainer.publishing.step_session import SessionStore, StepSession

KEYS = StepKeys("exp", "train")
A = "aa"
"""Token of a session."""
FINGERPRINT = "0123456789abcdef0123456789abcdef-1"
IDENTITY = StepIdentity("exp", "train", OwnerIdentity("me", "", "exp"), "2026-01-31T12:00:00Z", "uid-1", 1, FINGERPRINT)


@dataclass
class FileStore:
    """Store of experiments for sessions.

    Attributes:
        memory: its objects.
        fail: called with each request before it is carried out; may raise.
        lose: called with each request after it is carried out; may raise, and the answer is lost.
    """

    memory: MemoryStore = field(default_factory=MemoryStore)
    fail: Callable[[FenceRequest], None] = lambda _: None
    lose: Callable[[FenceRequest], None] = lambda _: None
    url: str = "s3://bucket/results"

    def sender(
        self,
        *,
        sources: Path | None = None,
        into: Path | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> Callable[[FenceRequest], FenceAnswer]:
        """Return the function that carries out requests."""

        def send(request: FenceRequest) -> FenceAnswer:
            self.fail(request)
            answer = self._answer(request, sources, into, on_bytes)
            self.lose(request)
            return answer

        return send

    def _answer(
        self, request: FenceRequest, sources: Path | None, into: Path | None, on_bytes: Callable[[int], None]
    ) -> FenceAnswer:
        if isinstance(request, PutFiles):
            assert sources is not None
            self.memory.requests.append(request)
            for file in request.files:
                content = (sources / file.path).read_bytes()
                assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size, file.sha256), file.path
                assert file.key not in self.memory.objects, "a name is used twice"
                self.memory.put(file.key, content)
            return UploadedKeys(frozenset(file.key for file in request.files))
        answer = self.memory.send(request)
        if isinstance(request, FetchFiles) and isinstance(answer, FetchedKeys):
            assert into is not None
            for file in request.files:
                if file.key in answer.keys:
                    (into / file.path).write_bytes(self.memory.objects[file.key][0])
                    on_bytes(file.size)
        return answer

    def requests(self, kind: type) -> list[FenceRequest]:
        """Return the requests of a kind that were carried out."""
        return [request for request in self.memory.requests if isinstance(request, kind)]

    def pointer(self) -> StepPointer:
        """Return the content of the pointer."""
        return parse_pointer(self.memory.objects[KEYS.pointer][0], KEYS)

    def published(self) -> PublishedSet:
        """Return the set in the current slot."""
        slot = self.pointer().current
        assert slot is not None
        return parse_manifest(self.memory.objects[slot.manifest][0], KEYS, slot.manifest)

    def contents(self) -> dict[str, bytes]:
        """Return the content of the published files by path."""
        return {file.path: self.memory.objects[file.key][0] for file in self.published().files}


def session_of(store: SessionStore, token: str = A, *, attempt: int = 1) -> StepSession:
    """Return a session of an attempt, which hasn't claimed."""
    return StepSession(store, replaced(IDENTITY, attempt=attempt), token=token)


def claimed(store: SessionStore, token: str = A, *, attempt: int = 1) -> StepSession:
    """Return a session that has claimed the step."""
    session = session_of(store, token, attempt=attempt)
    assert not session.claim().is_done
    return session


def write_file(directory: Path, path: str, content: str) -> None:
    """Replace a file by a rename, as tasks do."""
    assert is_published(path), path
    target = directory / path
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.1.partial")
    aside.write_text(content)
    aside.replace(target)


def write_result(directory: Path, *, code: int = 0) -> None:
    """Write result.json of a finished task."""
    write_file(
        directory,
        "result.json",
        json.dumps({"version": 1, "task": "train", "code": code, "fingerprint": FINGERPRINT, "artifacts": {}}),
    )


class Outage:
    """Failure of the store for one kind of request, as long as it lasts."""

    def __init__(self, *kinds: type) -> None:
        self.kinds = kinds
        self.lasts = True
        self.failed = 0

    def has_failed(self, times: int) -> bool:
        """Return whether a number of requests has failed."""
        return self.failed >= times

    def __call__(self, request: FenceRequest) -> None:
        """Raise TryAgain for a request of the kinds."""
        if self.lasts and isinstance(request, self.kinds):
            self.failed += 1
            raise TryAgain("the store has failed for 300 s", reason="StoreUnavailable")
