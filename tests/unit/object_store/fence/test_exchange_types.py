"""Tests of the run of a decision."""

from __future__ import annotations

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import SHA, held

from maskrcnn_trainer.object_store.fence.exchange_types import (
    DecisionRun,
    FenceAnswer,
    FenceRequest,
    GetRecord,
    PutFiles,
    UpdateRecord,
)
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, publish
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set

PUBLISHED = PublishedSet("f1", (PublishedFile("a", "", 1, SHA),))


class Interruption(Exception):
    """Stop of a process in a request."""


@pytest.mark.parametrize("carried_out", [True, False])
def test_interrupted_write_is_looked_up_before_anything_else_is_sent(carried_out: bool) -> None:
    store = MemoryStore()
    slot = FingerprintSlot("f1", KEYS.written_once(1, "aa", 0, "manifest.json"))
    run = DecisionRun(publish(held(store), slot, PublishedSet("f1", ())))

    def interrupted(request: FenceRequest) -> FenceAnswer:
        if carried_out:
            store.send(request)
        raise Interruption

    with pytest.raises(Interruption):
        run.finish(interrupted)
    store.requests.clear()
    outcome = run.finish(store.send)
    assert isinstance(outcome, HeldOutcome)
    assert outcome.holder.pointer.current == slot
    expected = [GetRecord] if carried_out else [GetRecord, UpdateRecord]
    assert [type(request) for request in store.requests] == expected


def test_interrupted_upload_is_sent_again_under_another_name() -> None:
    store = MemoryStore()
    sent: list[str] = []

    def interrupted(request: FenceRequest) -> FenceAnswer:
        if isinstance(request, PutFiles):
            sent.extend(file.key for file in request.files)
            if len(sent) == 1:
                raise Interruption
        return store.send(request)

    run = DecisionRun(upload_set(UploadNames(KEYS, 1, "aa"), PUBLISHED, ["a"]))
    with pytest.raises(Interruption):
        run.finish(interrupted)
    assert isinstance(run.finish(interrupted), UploadedSet)
    assert sent == ["exp/train/o/1-aa-0-a", "exp/train/o/1-aa-1-a"]


def test_finished_run_sends_nothing() -> None:
    store = MemoryStore()
    outcome = HeldOutcome(held(store))
    store.requests.clear()
    assert DecisionRun(outcome).finish(store.send) is outcome
    assert store.requests == []
