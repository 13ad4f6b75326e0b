"""Tests of the probe: stores that accept what they must refuse, and stores that answer badly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import MemoryStore

from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DeleteKeys,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    UpdateRecord,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.probing import ProbedStore, ProbeInconclusive, UnableStore, probe_store

Filter = Callable[[MemoryStore, FenceRequest], FenceAnswer]


def probed(store: MemoryStore, send: Filter = MemoryStore.send) -> FenceOutcome:
    return run_decision(probe_store("exp/", "t"), lambda request: send(store, request))


def test_able_store_passes_and_keeps_nothing() -> None:
    store = MemoryStore()
    assert probed(store) == ProbedStore()
    assert store.objects == {}


def test_contents_of_the_probe_differ_so_that_an_etag_of_the_content_does() -> None:
    store = MemoryStore()
    probed(store)
    bodies = [request.body for request in store.requests if isinstance(request, CreateRecord | UpdateRecord)]
    assert len(set(bodies)) == len(bodies)


def test_store_that_overwrites_at_create_is_refused() -> None:
    def send(store: MemoryStore, request: FenceRequest) -> FenceAnswer:
        return store.put(request.key, request.body) if isinstance(request, CreateRecord) else store.send(request)

    assert probed(MemoryStore(), send) == UnableStore("a create of an existing object")


def test_store_that_ignores_versions_is_refused() -> None:
    def send(store: MemoryStore, request: FenceRequest) -> FenceAnswer:
        if isinstance(request, UpdateRecord):
            request = replace(request, version=store.version(request.key))
        return store.send(request)

    assert probed(MemoryStore(), send) == UnableStore("an update from a stale version")


def test_refused_deletion_is_no_refusal_of_the_store() -> None:
    assert probed(MemoryStore(deletes=FenceReply.FORBIDDEN)) == ProbedStore(undeletable=True)


@pytest.mark.parametrize("kind", [CreateRecord, UpdateRecord])
@pytest.mark.parametrize("carried_out", [True, False])
def test_one_lost_answer_starts_with_another_object(kind: type, carried_out: bool) -> None:
    lost: list[FenceRequest] = []

    def send(store: MemoryStore, request: FenceRequest) -> FenceAnswer:
        if isinstance(request, kind) and not lost:
            lost.append(request)
            if carried_out:
                store.send(request)
            return FenceReply.UNANSWERED
        return store.send(request)

    assert probed(MemoryStore(), send) == ProbedStore()


def test_store_that_never_answers_is_inconclusive() -> None:
    assert probed(MemoryStore(), lambda store, request: FenceReply.UNANSWERED) == ProbeInconclusive()


def test_store_that_refuses_right_updates_is_inconclusive() -> None:
    def send(store: MemoryStore, request: FenceRequest) -> FenceAnswer:
        return FenceReply.PRECONDITION if isinstance(request, UpdateRecord) else store.send(request)

    assert probed(MemoryStore(), send) == ProbeInconclusive()


def test_probe_deletes_only_its_own_object() -> None:
    store = MemoryStore()
    probed(store)
    assert [request.keys for request in store.requests if isinstance(request, DeleteKeys)] == [("exp/probe-t-0",)]
