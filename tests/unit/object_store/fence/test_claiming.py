"""Tests of single claims; interleavings are enumerated."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import claim, held, order, publisher

from maskrcnn_trainer.object_store.fence.claiming import AlreadyDone, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DamagedStore,
    FenceReply,
    GetRecord,
    PointerGone,
    SupersededOutcome,
    UpdateRecord,
    run_decision,
)


def test_first_claim_creates_the_pointer_with_epoch_1() -> None:
    store = MemoryStore()
    assert held(store).pointer.epoch == 1
    assert [type(request) for request in store.requests] == [GetRecord, CreateRecord]


def test_later_attempt_takes_over_with_the_next_epoch_and_what_was_published() -> None:
    store = MemoryStore()
    before = publisher(store).publish("a").pointer
    after = held(store, "bb", 2).pointer
    assert (after.epoch, after.token, after.current) == (2, "bb", before.current)


def test_superseded_claim_writes_nothing_and_has_the_number_of_the_higher_attempt() -> None:
    store = MemoryStore()
    held(store, "bb", 5)
    store.requests.clear()
    assert claim(store, "aa", 4) == SupersededOutcome(order(5), 5)
    assert store.requests == [GetRecord(KEYS.pointer)]


def test_superseded_claim_has_no_number_of_another_experiment() -> None:
    store = MemoryStore()
    held(store, "bb", 5)
    mine = replace(order(9), created="2026-01-01T00:00:00Z", uid="uid-0")
    assert run_decision(claim_step(ClaimTerms(KEYS, mine, "f1", "aa")), store.send) == SupersededOutcome(order(5))


def test_result_that_is_previous_is_swapped_into_the_current_slot() -> None:
    store = MemoryStore()
    publisher(store).publish("r", result="r")
    publisher(store, "bb", 2, "f2").publish("b", fingerprint="f2")
    outcome = claim(store, "cc", 3)
    assert isinstance(outcome, AlreadyDone)
    assert outcome.holder is not None
    slots = [slot.fingerprint for slot in outcome.holder.pointer.slots]
    assert slots == ["f1", "f2"]


def test_current_result_of_an_equal_order_ends_without_a_write() -> None:
    store = MemoryStore()
    publisher(store).publish("r", result="r")
    outcome = claim(store, "bb")
    assert isinstance(outcome, AlreadyDone)
    assert outcome.holder is None


def test_fingerprint_without_a_result_is_not_swapped_at_a_claim() -> None:
    store = MemoryStore()
    publisher(store).publish("a")
    publisher(store, "bb", 2, "f2").publish("b", fingerprint="f2")
    slots = [slot.fingerprint for slot in held(store, "cc", 3).pointer.slots]
    assert slots == ["f2", "f1"]


def test_manifest_that_is_absent_twice_under_one_pointer_is_damage() -> None:
    store = MemoryStore()
    current = publisher(store).publish("a").pointer.current
    assert current is not None
    del store.objects[current.manifest]
    assert claim(store, "bb", 2) == DamagedStore(KEYS.pointer, "names an object that doesn't exist")


def test_pointer_that_vanishes_during_a_claim_has_an_outcome_of_its_own() -> None:
    store = MemoryStore()
    held(store)

    def send(request: object) -> object:
        if isinstance(request, UpdateRecord):
            del store.objects[KEYS.pointer]
        return store.send(request)  # type: ignore[arg-type]

    assert run_decision(claim_step(ClaimTerms(KEYS, order(2), "f1", "bb")), send) == PointerGone(KEYS.pointer)  # type: ignore[arg-type]


def test_refused_create_without_a_pointer_is_sent_again_after_jitter_with_a_new_id() -> None:
    store = MemoryStore()
    answers = iter([FenceReply.ALREADY_EXISTS])
    creates = []

    def send(request: object) -> object:
        if isinstance(request, CreateRecord):
            creates.append(request)
            refusal = next(answers, None)
            if refusal is not None:
                return refusal
        return store.send(request)  # type: ignore[arg-type]

    run_decision(claim_step(ClaimTerms(KEYS, order(), "f1", "aa")), send)  # type: ignore[arg-type]
    assert [create.after_jitter for create in creates] == [False, True]
    assert creates[0].body.write_id != creates[1].body.write_id  # type: ignore[union-attr]


def test_lower_order_reports_the_current_result_of_its_fingerprint_and_writes_nothing() -> None:
    store = MemoryStore()
    published = publisher(store, attempt=3).publish("a", result="a").set_of("f1")
    assert published is not None
    before = dict(store.objects)
    assert claim(store, "bb", 2) == AlreadyDone(None, published)
    assert store.objects == before


def test_lower_order_of_another_fingerprint_is_superseded() -> None:
    store = MemoryStore()
    publisher(store, attempt=3).publish("a", result="a")
    assert claim(store, "bb", 2, "f2") == SupersededOutcome(order(3), 3)


def test_lower_order_is_superseded_where_the_set_is_no_result() -> None:
    store = MemoryStore()
    publisher(store, attempt=3).publish("a")
    assert claim(store, "bb", 2) == SupersededOutcome(order(3), 3)


def test_lower_order_is_superseded_where_its_result_is_previous() -> None:
    store = MemoryStore()
    publisher(store, attempt=3).publish("a", result="a")
    publisher(store, "bb", attempt=4, fingerprint="f2").publish("b", fingerprint="f2")
    assert claim(store, "cc", 2) == SupersededOutcome(order(4), 4)


def test_order_of_a_former_owner_reports_no_result() -> None:
    store = MemoryStore()
    pointer = publisher(store, attempt=1).publish("a", result="a").pointer
    store.put(KEYS.pointer, replace(pointer, order=order(1, owner_epoch=2)))
    assert claim(store, "bb", 2) == SupersededOutcome(order(1, owner_epoch=2), 1)
