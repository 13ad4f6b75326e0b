"""Store in memory that keeps the bytes of its objects, as a real one does, and has a clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    FoundRecord,
    GetRecord,
    ListedKey,
    ListedKeys,
    ListKeys,
    PutFiles,
    PutRecord,
    UpdateRecord,
    UploadedKeys,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import FenceRecord, ObjectVersion
from maskrcnn_trainer.object_store.fence.untrusted import parse_record

KEYS = StepKeys("exp", "train")


@dataclass
class MemoryStore:
    """Store of one experiment.

    Attributes:
        objects: content, number of the version, and time of the write by key.
        now: its clock.
        complete: whether listings are.
        deletes: answer to deletions.
        requests: all of them, in order.
    """

    objects: dict[str, tuple[bytes, int, float]] = field(default_factory=dict)
    now: float = 1000.0
    complete: bool = True
    deletes: FenceReply = FenceReply.DELETED
    requests: list[FenceRequest] = field(default_factory=list)
    writes: int = 0

    def send(self, request: FenceRequest) -> FenceAnswer:
        """Answer a request."""
        self.requests.append(request)
        if isinstance(request, GetRecord):
            return self._get(request.key)
        if isinstance(request, ListKeys):
            entries = tuple(
                ListedKey(key, at) for key, (_, _, at) in self.objects.items() if key.startswith(request.prefix)
            )
            return ListedKeys(entries, self.complete)
        if isinstance(request, FetchFiles):
            return FetchedKeys(frozenset(file.key for file in request.files if file.key in self.objects))
        return self._change(request)

    def _change(self, request: CreateRecord | UpdateRecord | PutRecord | PutFiles | DeleteKeys) -> FenceAnswer:
        if isinstance(request, DeleteKeys):
            for key in request.keys if self.deletes is FenceReply.DELETED else ():
                self.objects.pop(key, None)
            return self.deletes
        if isinstance(request, PutFiles):
            for file in request.files:
                self.put(file.key, b"x")
            return UploadedKeys(frozenset(file.key for file in request.files))
        if isinstance(request, CreateRecord) and request.key in self.objects:
            return FenceReply.ALREADY_EXISTS
        if isinstance(request, UpdateRecord):
            if request.key not in self.objects:
                return FenceReply.NOT_FOUND
            if request.version != self.version(request.key):
                return FenceReply.PRECONDITION
        return self.put(request.key, request.body)

    def put(self, key: str, body: FenceRecord | bytes) -> WrittenRecord:
        """Write an object."""
        self.writes += 1
        self.objects[key] = (body if isinstance(body, bytes) else encode_record(body), self.writes, self.now)
        return WrittenRecord(self.version(key))

    def version(self, key: str) -> ObjectVersion:
        """Return the version of an object."""
        return ObjectVersion(e_tag=f'"{self.objects[key][1]}"')

    def _get(self, key: str) -> FenceAnswer:
        if key not in self.objects:
            return FenceReply.NOT_FOUND
        content, _, at = self.objects[key]
        return FoundRecord(parse_record(content, key, KEYS), self.version(key), at)
