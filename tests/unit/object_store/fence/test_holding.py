"""Tests of a held step's pointer; interleavings are enumerated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import held, order, publisher

from maskrcnn_trainer.object_store.fence.exchange_types import PointerGone, SupersededOutcome, run_decision
from maskrcnn_trainer.object_store.fence.holding import publish
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, PublishedSet

SLOT = FingerprintSlot("f1", KEYS.written_once(1, "aa", 0, "manifest.json"))


def test_publish_after_a_take_over_is_superseded() -> None:
    store = MemoryStore()
    holder = held(store)
    held(store, "bb", 2)
    assert run_decision(publish(holder, SLOT, PublishedSet("f1", ())), store.send) == SupersededOutcome(order(2), 2)


def test_publish_without_a_pointer_has_an_outcome_of_its_own() -> None:
    store = MemoryStore()
    holder = held(store)
    del store.objects[KEYS.pointer]
    assert run_decision(publish(holder, SLOT, PublishedSet("f1", ())), store.send) == PointerGone(KEYS.pointer)


def test_third_fingerprint_takes_the_place_of_the_first() -> None:
    store = MemoryStore()
    process = publisher(store)
    for fingerprint in ("f1", "f2", "f3"):
        process.publish("a", fingerprint=fingerprint)
    assert [slot.fingerprint for slot in process.holder.pointer.slots] == ["f3", "f2"]


def test_manifest_of_another_process_is_not_published() -> None:
    store = MemoryStore()
    holder = held(store)
    foreign = replace(SLOT, manifest=KEYS.written_once(1, "bb", 0, "manifest.json"))
    with pytest.raises(ValueError, match="neither of this process"):
        publish(holder, foreign, PublishedSet("f1", ()))


def test_file_that_no_manifest_names_any_more_is_not_published_again() -> None:
    store = MemoryStore()
    process = publisher(store)
    old = process.publish("a").sets[0][1].files
    process.publish("b")
    later = held(store, "bb", 2)
    slot = replace(SLOT, manifest=KEYS.written_once(2, "bb", 0, "manifest.json"))
    with pytest.raises(ValueError, match="neither of this process"):
        publish(later, slot, PublishedSet("f1", old))
