"""Tests of cleaning without a claim: it never ends a running attempt, and waits an hour."""

from __future__ import annotations

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import Publisher, publisher

from maskrcnn_trainer.object_store.fence.cleaning import clean_step
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DamagedStore,
    DeleteKeys,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    GetRecord,
    UpdateRecord,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.outside_cleaning import OutsideCleaned, OutsideTerms, clean_outside
from maskrcnn_trainer.object_store.fence.records import StepPointer
from maskrcnn_trainer.object_store.fence.tombstones import delete_step
from maskrcnn_trainer.object_store.fence.untrusted import parse_pointer

HOUR = 3600.0


def clean(store: MemoryStore, token: str = "oo") -> OutsideCleaned:  # noqa: S107 - no password
    outcome = run_decision(clean_outside(OutsideTerms(KEYS, token)), store.send)
    assert isinstance(outcome, OutsideCleaned)
    return outcome


def pointer(store: MemoryStore) -> StepPointer:
    return parse_pointer(store.objects[KEYS.pointer][0], KEYS)


def keys(store: MemoryStore) -> set[str]:
    return {key for key in store.objects if KEYS.parse(key)}


def restarted(store: MemoryStore) -> tuple[Publisher, set[str]]:
    """Return a second attempt that has published, and the keys of the first one."""
    publisher(store).publish("a")
    first = keys(store)
    process = publisher(store, "bb", 2)
    process.publish("b")
    return process, first


def finished(store: MemoryStore) -> tuple[Publisher, set[str]]:
    """Return an attempt that has published a result, and the keys that this has replaced."""
    process = publisher(store)
    process.publish("a")
    first = keys(store)
    process.publish("b", result="b")
    return process, first


def test_garbage_of_lower_epochs_is_listed_under_the_holders_token() -> None:
    store = MemoryStore()
    process, first = restarted(store)
    assert clean(store) == OutsideCleaned(listed=2)
    assert set(pointer(store).garbage) == first
    assert (pointer(store).token, pointer(store).epoch) == ("bb", 2)
    assert pointer(store).write_id != process.holder.pointer.write_id


def test_running_attempt_publishes_after_a_cleaning() -> None:
    store = MemoryStore()
    process, first = restarted(store)
    clean(store)
    process.publish("c")
    assert pointer(store).current == process.holder.pointer.current
    assert set(process.holder.pointer.garbage) == first


def test_running_attempt_deletes_what_was_listed_from_outside() -> None:
    store = MemoryStore()
    process, first = restarted(store)
    clean(store)
    process.publish("c")
    process.holder = run_decision(clean_step(process.holder), store.send).holder  # type: ignore[attr-defined]
    store.now += HOUR
    process.publish("d")
    run_decision(clean_step(process.holder), store.send)
    assert not first & store.objects.keys()


def test_replaced_set_of_a_running_attempt_is_left() -> None:
    store = MemoryStore()
    process = publisher(store)
    process.publish("a")
    process.publish("b")
    store.now += 10 * HOUR
    before = dict(store.objects)
    assert clean(store) == OutsideCleaned(left=2)
    assert store.objects == before


def test_upload_that_is_not_published_yet_is_left() -> None:
    store = MemoryStore()
    process, _ = restarted(store)
    flying, _ = process.names.take("c")
    store.put(flying, b"x")
    store.now += 10 * HOUR
    clean(store)
    assert flying in store.objects
    assert flying not in pointer(store).garbage


def test_step_that_has_finished_an_hour_ago_is_claimed_with_its_own_order() -> None:
    store = MemoryStore()
    process, first = finished(store)
    store.now += HOUR
    assert clean(store) == OutsideCleaned(listed=2)
    assert set(pointer(store).garbage) == first
    assert (pointer(store).token, pointer(store).epoch) == ("oo", 2)
    assert pointer(store).order == process.holder.pointer.order
    assert pointer(store).slots == process.holder.pointer.slots


def test_step_that_has_just_finished_is_left() -> None:
    store = MemoryStore()
    process, _ = finished(store)
    store.now += HOUR - 1
    assert clean(store) == OutsideCleaned(left=2)
    assert pointer(store) == process.holder.pointer


def test_attempt_that_has_claimed_a_finished_step_is_not_superseded() -> None:
    store = MemoryStore()
    process, _ = finished(store)
    editor = publisher(store, "bb", 2, "f2")
    flying, _ = editor.names.take("c")
    store.put(flying, b"x")
    store.now += 10 * HOUR
    assert clean(store) == OutsideCleaned(listed=2, left=1)
    editor.publish("d", fingerprint="f2")
    assert pointer(store).current == editor.holder.pointer.current
    assert pointer(store).previous == process.holder.pointer.current


def test_garbage_is_deleted_an_hour_after_its_listing() -> None:
    store = MemoryStore()
    _, first = restarted(store)
    clean(store)
    store.now += HOUR - 1
    assert clean(store, "o2") == OutsideCleaned(waiting=2)
    assert first <= store.objects.keys()
    store.now += 1
    assert clean(store, "o3") == OutsideCleaned(deleted=2)
    assert not first & store.objects.keys()


def test_deletion_writes_no_pointer() -> None:
    store = MemoryStore()
    restarted(store)
    clean(store)
    store.now += HOUR
    store.requests.clear()
    clean(store, "o2")
    assert not [one for one in store.requests if isinstance(one, UpdateRecord)]


def test_named_and_foreign_keys_stay() -> None:
    store = MemoryStore()
    process, _ = finished(store)
    store.put("exp/train/mine.txt", b"x")
    store.put("exp/train/o/mine.txt", b"x")
    store.now += HOUR
    clean(store)
    store.now += HOUR
    clean(store, "o2")
    named = {"exp/train/mine.txt", "exp/train/o/mine.txt", KEYS.pointer}
    named |= {key for one in process.holder.pointer.slots for key in keys(store) if key == one.manifest}
    assert named <= store.objects.keys()
    assert {file.key for _, one in process.holder.sets for file in one.files} <= store.objects.keys()


def test_garbage_that_names_a_file_in_use_is_not_deleted() -> None:
    store = MemoryStore()
    process, _ = finished(store)
    used = dict(process.holder.sets)[process.holder.pointer.slots[0].manifest].files[0].key
    content = store.objects[KEYS.pointer][0].replace(b'"garbage":[]', f'"garbage":["{used}"]'.encode())
    store.put(KEYS.pointer, content)
    store.now += 10 * HOUR
    clean(store)
    assert used in store.objects


def test_incomplete_listing_changes_nothing() -> None:
    store = MemoryStore()
    restarted(store)
    clean(store)
    store.now += HOUR
    store.complete = False
    before = dict(store.objects)
    assert clean(store, "o2") == OutsideCleaned(incomplete=True)
    assert store.objects == before


def test_refused_deletion_is_reported_and_garbage_stays_listed() -> None:
    store = MemoryStore()
    _, first = restarted(store)
    clean(store)
    store.now += HOUR
    store.deletes = FenceReply.FORBIDDEN
    assert clean(store, "o2") == OutsideCleaned(waiting=2, forbidden=True)
    assert set(pointer(store).garbage) == first


def test_publish_during_the_cleaning_refuses_its_list() -> None:
    store = MemoryStore()
    process, _ = restarted(store)

    def send(request: FenceRequest) -> FenceAnswer:
        if isinstance(request, UpdateRecord):
            process.publish("c")
        return store.send(request)

    assert run_decision(clean_outside(OutsideTerms(KEYS, "oo")), send) == OutsideCleaned(left=2, busy=True)
    assert pointer(store).garbage == ()


def test_lost_answer_of_the_list_counts_as_written() -> None:
    store = MemoryStore()
    restarted(store)

    def send(request: FenceRequest) -> FenceAnswer:
        answer = store.send(request)
        return FenceReply.UNANSWERED if isinstance(request, UpdateRecord) else answer

    assert run_decision(clean_outside(OutsideTerms(KEYS, "oo")), send) == OutsideCleaned(listed=2)


def test_store_without_the_time_of_the_clock_deletes_nothing() -> None:
    store = MemoryStore()
    _, first = restarted(store)
    clean(store)
    store.now += HOUR

    def send(request: FenceRequest) -> FenceAnswer:
        return FenceReply.UNANSWERED if isinstance(request, CreateRecord) else store.send(request)

    assert run_decision(clean_outside(OutsideTerms(KEYS, "o2")), send) == OutsideCleaned(waiting=2)
    assert first <= store.objects.keys()


def test_object_of_the_clock_is_removed() -> None:
    store = MemoryStore()
    restarted(store)
    clean(store)
    created = [request.key for request in store.requests if isinstance(request, CreateRecord)]
    assert created[-1] == "exp/train/clock-oo"
    assert "exp/train/clock-oo" not in store.objects


def test_step_without_a_pointer_is_left() -> None:
    store = MemoryStore()
    store.put("exp/train/o/1-zz-0-a", b"x")
    assert clean(store) == OutsideCleaned()
    assert [type(request) for request in store.requests] == [GetRecord]


def test_manifest_that_does_not_exist_is_named() -> None:
    store = MemoryStore()
    process, _ = restarted(store)
    manifest = process.holder.pointer.slots[0].manifest
    del store.objects[manifest]
    outcome = run_decision(clean_outside(OutsideTerms(KEYS, "oo")), store.send)
    assert outcome == DamagedStore(KEYS.pointer, "names an object that doesn't exist")
    assert not [request for request in store.requests if isinstance(request, DeleteKeys)]


def test_late_upload_after_a_deletion_is_cleaned() -> None:
    store = MemoryStore()
    restarted(store)
    run_decision(delete_step(KEYS, 2, "dd"), store.send)
    late = KEYS.written_once(2, "bb", 9, "late")
    store.put(late, b"x")
    assert clean(store) == OutsideCleaned(listed=1)
    store.now += HOUR
    assert clean(store, "o2") == OutsideCleaned(deleted=1)
    assert late not in store.objects


@pytest.mark.parametrize("number", [1000, 1200])
def test_list_has_room_for_a_thousand_keys(number: int) -> None:
    store = MemoryStore()
    publisher(store)
    publisher(store, "bb", 2)
    for place in range(number):
        store.put(KEYS.written_once(1, "aa", place, "x"), b"x")
    assert clean(store) == OutsideCleaned(listed=1000, left=number - 1000)
    assert len(pointer(store).garbage) == 1000
