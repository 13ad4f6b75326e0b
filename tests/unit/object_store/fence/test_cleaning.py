"""Tests of cleaning: the hour, foreign keys, incomplete listings, and refused deletions."""

from __future__ import annotations

from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import SHA, Publisher, publisher

from maskrcnn_trainer.object_store.fence.cleaning import CleanedStep, clean_step
from maskrcnn_trainer.object_store.fence.exchange_types import DeleteKeys, FenceReply, UpdateRecord, run_decision
from maskrcnn_trainer.object_store.fence.keys import NUMBERS_PER_NODE
from maskrcnn_trainer.object_store.fence.records import MOST_GARBAGE, PublishedFile


def clean(store: MemoryStore, process: Publisher, in_flight: frozenset[str] = frozenset()) -> CleanedStep:
    outcome = run_decision(clean_step(process.holder, in_flight), store.send)
    assert isinstance(outcome, CleanedStep)
    process.holder = outcome.holder
    return outcome


def two_publishes(store: MemoryStore) -> tuple[Publisher, set[str]]:
    """Return a process that has published twice, and the keys of the first."""
    process = publisher(store)
    process.publish("a")
    first = {key for key in store.objects if KEYS.parse(key)}
    process.publish("b")
    return process, first


def deleted(store: MemoryStore) -> set[str]:
    return {key for request in store.requests if isinstance(request, DeleteKeys) for key in request.keys}


def test_replaced_set_is_listed_as_garbage_and_not_deleted_at_once() -> None:
    store = MemoryStore()
    process, first = two_publishes(store)
    clean(store, process)
    assert set(process.holder.pointer.garbage) == first
    assert deleted(store) == set()


def test_garbage_is_kept_until_a_pointer_is_written_an_hour_after_its_listing() -> None:
    store = MemoryStore()
    process, _ = two_publishes(store)
    clean(store, process)
    clean(store, process)
    store.now += 3599
    process.publish("c")
    clean(store, process)
    assert deleted(store) == set()


def test_time_without_a_later_write_of_the_pointer_deletes_nothing() -> None:
    store = MemoryStore()
    process, _ = two_publishes(store)
    clean(store, process)
    store.now += 10_000
    clean(store, process)
    assert deleted(store) == set()


def test_garbage_is_deleted_and_leaves_the_list_an_hour_after_its_listing() -> None:
    store = MemoryStore()
    process, first = two_publishes(store)
    clean(store, process)
    clean(store, process)
    store.now += 3600
    process.publish("c")
    clean(store, process)
    assert deleted(store) == first
    assert not first & set(process.holder.pointer.garbage)
    assert not first & store.objects.keys()


def test_next_claim_deletes_garbage_that_was_listed_an_hour_before() -> None:
    store = MemoryStore()
    process, first = two_publishes(store)
    clean(store, process)
    store.now += 3600
    clean(store, publisher(store, "bb", 2))
    assert deleted(store) == first


def test_uploads_in_flight_are_not_garbage() -> None:
    store = MemoryStore()
    process = publisher(store)
    key = KEYS.written_once(1, "aa", 50, "x")
    store.put(key, b"x")
    clean(store, process, frozenset({key}))
    assert process.holder.pointer.garbage == ()


def test_log_of_another_node_is_garbage_only_once_a_later_one_is_named() -> None:
    store = MemoryStore()
    process = publisher(store)
    logs = [KEYS.written_once(1, "aa", NUMBERS_PER_NODE + number, "log") for number in range(3)]
    for key in logs:
        store.put(key, b"x")
    clean(store, process)
    assert process.holder.pointer.garbage == ()
    process.publish("a", logs=(PublishedFile("log", logs[1], 1, SHA),))
    clean(store, process)
    assert logs[0] in process.holder.pointer.garbage
    assert not set(logs[1:]) & set(process.holder.pointer.garbage)


def test_foreign_keys_and_those_of_higher_epochs_are_never_listed() -> None:
    store = MemoryStore()
    process = publisher(store)
    for key in ("x", "o/x", "o/2-aa-0-x", "o/1-bb-0-x", "o/1-aa-0-x/y"):
        store.put(f"{KEYS.prefix}{key}", b"x")
    store.put("exp/other/o/1-aa-0-x", b"x")
    clean(store, process)
    assert process.holder.pointer.garbage == ()


def test_incomplete_listing_deletes_and_lists_nothing() -> None:
    store = MemoryStore()
    process, _ = two_publishes(store)
    store.complete = False
    store.requests.clear()
    assert clean(store, process).incomplete
    assert not any(isinstance(request, UpdateRecord | DeleteKeys) for request in store.requests)


def test_refused_deletion_is_reported_and_its_keys_stay_listed() -> None:
    store = MemoryStore(deletes=FenceReply.FORBIDDEN)
    process, first = two_publishes(store)
    clean(store, process)
    store.now += 3600
    next_process = publisher(store, "bb", 2)
    assert clean(store, next_process).forbidden
    assert first <= set(next_process.holder.pointer.garbage)


def test_list_of_garbage_is_capped_and_keeps_what_it_has() -> None:
    store = MemoryStore()
    process, first = two_publishes(store)
    clean(store, process)
    for number in range(100, 100 + MOST_GARBAGE):
        store.put(KEYS.written_once(1, "aa", number, "x"), b"x")
    clean(store, process)
    assert len(process.holder.pointer.garbage) == MOST_GARBAGE
    assert first <= set(process.holder.pointer.garbage)


def test_pass_that_finds_nothing_new_writes_nothing() -> None:
    store = MemoryStore()
    process, _ = two_publishes(store)
    clean(store, process)
    writes = store.writes
    clean(store, process)
    assert store.writes == writes
