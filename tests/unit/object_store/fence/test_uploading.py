"""Tests of uploads."""

from __future__ import annotations

from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import SHA

from maskrcnn_trainer.object_store.fence.exchange_types import (
    FenceAnswer,
    FenceReply,
    FenceRequest,
    PutFiles,
    PutRecord,
    UploadedKeys,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set

NAMES = UploadNames(KEYS, 1, "aa")
OLD = PublishedFile("old", KEYS.written_once(1, "zz", 0, "old"), 1, SHA)
PUBLISHED = PublishedSet("f1", (PublishedFile("a", "", 1, SHA), OLD, PublishedFile("b", "", 1, SHA)))


def test_changed_files_get_new_names_and_the_others_keep_theirs() -> None:
    outcome = run_decision(upload_set(NAMES, PUBLISHED, ["a", "b"]), MemoryStore().send)
    assert isinstance(outcome, UploadedSet)
    keys = [file.key for file in outcome.published.files]
    assert keys == ["exp/train/o/1-aa-0-a", OLD.key, "exp/train/o/1-aa-1-b"]


def test_manifest_is_uploaded_last() -> None:
    store = MemoryStore()
    run_decision(upload_set(NAMES, PUBLISHED, ["a", "b"]), store.send)
    assert [type(request) for request in store.requests] == [PutFiles, PutRecord]


def test_set_without_changed_files_uploads_only_its_manifest() -> None:
    store = MemoryStore()
    run_decision(upload_set(NAMES, PUBLISHED, []), store.send)
    assert [type(request) for request in store.requests] == [PutRecord]


def test_only_unanswered_uploads_are_sent_again_under_names_never_used_before() -> None:
    store = MemoryStore()
    sent: list[list[str]] = []

    def send(request: FenceRequest) -> FenceAnswer:
        if isinstance(request, PutFiles):
            sent.append([file.key for file in request.files])
            if len(sent) == 1:
                return UploadedKeys(frozenset({sent[0][0]}))
        return store.send(request)

    run_decision(upload_set(NAMES, PUBLISHED, ["a", "b"]), send)
    assert sent == [["exp/train/o/1-aa-0-a", "exp/train/o/1-aa-1-b"], ["exp/train/o/1-aa-2-b"]]


def test_unanswered_manifest_is_sent_again_under_another_name() -> None:
    store = MemoryStore()
    keys: list[str] = []

    def send(request: FenceRequest) -> FenceAnswer:
        if isinstance(request, PutRecord):
            keys.append(request.key)
            if len(keys) == 1:
                return FenceReply.UNANSWERED
        return store.send(request)

    outcome = run_decision(upload_set(NAMES, PUBLISHED, []), send)
    assert isinstance(outcome, UploadedSet)
    assert outcome.slot.manifest == keys[1] != keys[0]
