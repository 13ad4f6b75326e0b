"""Tests of single reads; those while attempts publish and delete are enumerated."""

from __future__ import annotations

from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import held, publisher

from maskrcnn_trainer.object_store.fence.exchange_types import (
    DamagedStore,
    FenceOutcome,
    FetchFiles,
    PutRecord,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.result_reading import (
    FindTerms,
    FoundResults,
    NoPointer,
    NotPublished,
    ReadResults,
    ReadTerms,
    find_results,
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


def find(store: MemoryStore, *fingerprints: str) -> FenceOutcome:
    return run_decision(find_results(FindTerms(KEYS, fingerprints)), store.send)


def test_search_reads_no_file() -> None:
    store = two_fingerprints()
    outcome = find(store)
    assert isinstance(outcome, FoundResults)
    assert [file.path for file in outcome.published.files] == ["c"]
    assert not any(isinstance(request, FetchFiles) for request in store.requests)


def test_search_takes_the_first_fingerprint_that_has_a_slot() -> None:
    outcome = find(two_fingerprints(), "f0", "f1", "f2")
    assert isinstance(outcome, FoundResults)
    assert outcome.published.fingerprint == "f1"


def test_search_for_a_fingerprint_without_a_slot_does_not_take_the_current_one() -> None:
    assert find(two_fingerprints(), "f3") == NotPublished(KEYS.pointer)


def test_search_distinguishes_an_absent_pointer_from_one_that_names_nothing() -> None:
    store = MemoryStore()
    assert find(store) == NoPointer(KEYS.pointer)
    held(store)
    assert find(store) == NotPublished(KEYS.pointer)


def test_manifest_that_is_absent_under_an_unchanged_pointer_is_damage() -> None:
    store = two_fingerprints()
    manifest = next(request.key for request in store.requests if isinstance(request, PutRecord))
    del store.objects[manifest]
    assert find(store, "f1") == DamagedStore(KEYS.pointer, "names an object that doesn't exist")


def test_search_after_an_absent_object_needs_another_pointer() -> None:
    store = two_fingerprints()
    outcome = find(store)
    assert isinstance(outcome, FoundResults)
    terms = FindTerms(KEYS, (), outcome.version)
    assert isinstance(run_decision(find_results(terms), store.send), DamagedStore)
    store.put(KEYS.pointer, store.objects[KEYS.pointer][0])
    assert isinstance(run_decision(find_results(terms), store.send), FoundResults)
