"""Tests of single reads; those while attempts publish and delete are enumerated."""

from __future__ import annotations

from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import held, publisher

from maskrcnn_trainer.object_store.fence.exchange_types import DamagedStore, FenceOutcome, FetchFiles, run_decision
from maskrcnn_trainer.object_store.fence.result_reading import (
    GivenSetGone,
    NotPublished,
    ReadResults,
    ReadTerms,
    read_given,
    read_results,
)


def read(store: MemoryStore, fingerprint: str | None = None, *paths: str) -> FenceOutcome:
    terms = ReadTerms(KEYS, fingerprint, frozenset(paths) if paths else None)
    return run_decision(read_results(terms), store.send)


def two_fingerprints() -> MemoryStore:
    store = MemoryStore()
    process = publisher(store)
    process.publish("a", "b")
    process.publish("c", fingerprint="f2")
    return store


def paths(outcome: FenceOutcome) -> list[str]:
    assert isinstance(outcome, ReadResults)
    return [file.path for file in outcome.published.files]


def test_reader_with_a_fingerprint_reads_its_slot() -> None:
    assert paths(read(two_fingerprints(), "f1")) == ["a", "b"]


def test_reader_without_a_fingerprint_reads_the_current_slot() -> None:
    assert paths(read(two_fingerprints())) == ["c"]


def test_fingerprint_without_a_slot_is_not_published() -> None:
    assert read(two_fingerprints(), "f3") == NotPublished(KEYS.pointer)


def test_claim_without_a_publish_is_not_published() -> None:
    store = MemoryStore()
    held(store)
    assert read(store) == NotPublished(KEYS.pointer)


def test_absent_pointer_is_not_published() -> None:
    assert read(MemoryStore()) == NotPublished(KEYS.pointer)


def test_only_requested_files_are_loaded() -> None:
    store = two_fingerprints()
    read(store, "f1", "b")
    fetches = [request for request in store.requests if isinstance(request, FetchFiles)]
    assert [[file.path for file in request.files] for request in fetches] == [["b"]]


def test_file_that_is_absent_under_an_unchanged_pointer_is_damage() -> None:
    store = two_fingerprints()
    outcome = read(store)
    assert isinstance(outcome, ReadResults)
    del store.objects[outcome.published.files[0].key]
    assert read(store) == DamagedStore(KEYS.pointer, "names an object that doesn't exist")


def test_given_set_of_which_a_file_is_gone_is_not_looked_up_again() -> None:
    store = two_fingerprints()
    outcome = read(store)
    assert isinstance(outcome, ReadResults)
    key = outcome.published.files[0].key
    del store.objects[key]
    assert run_decision(read_given(outcome.published), store.send) == GivenSetGone(key)
