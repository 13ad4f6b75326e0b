"""Tests of the deletion of an experiment; interleavings are enumerated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import claim, held, order, publisher

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.claiming import ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    DecisionRun,
    FenceAnswer,
    FenceReply,
    FenceRequest,
    FoundRecord,
    GetRecord,
    SupersededOutcome,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.records import ObjectVersion, OwnerIdentity, OwnerRecord
from maskrcnn_trainer.object_store.fence.tombstones import (
    DeletedExperiment,
    DeletedStep,
    DisownedPrefix,
    NothingOwned,
    delete_experiment,
    delete_step,
    deletion_order,
    disown_prefix,
    leave_step,
)


def test_owner_becomes_a_tombstone_with_the_next_epoch() -> None:
    store = MemoryStore()
    store.put(KEYS.owner, OwnerRecord("x-0", OwnerIdentity("a", "b", "exp"), 3, "able"))
    outcome = run_decision(disown_prefix("exp", "t"), store.send)
    assert outcome == DisownedPrefix(OwnerRecord("t-0", None, 4, "able"))


@pytest.mark.parametrize(("owner_id", "namespace"), [("a", "c"), ("c", "b")])
def test_prefix_of_another_owner_than_the_given_one_is_left_alone(owner_id: str, namespace: str) -> None:
    store = MemoryStore()
    record = OwnerRecord("x-0", OwnerIdentity("a", "b", "exp"), 3, "able")
    store.put(KEYS.owner, record)
    given = OwnerIdentity(owner_id, namespace, "exp")
    before = dict(store.objects)
    assert run_decision(disown_prefix("exp", "t", given), store.send) == AnothersOwner(record, "a/3", given)
    assert store.objects == before


def test_prefix_of_the_given_owner_gets_a_tombstone() -> None:
    store = MemoryStore()
    store.put(KEYS.owner, OwnerRecord("x-0", OwnerIdentity("a", "b", "exp"), 3, "able"))
    outcome = run_decision(disown_prefix("exp", "t", OwnerIdentity("a", "b", "exp")), store.send)
    assert outcome == DisownedPrefix(OwnerRecord("t-0", None, 4, "able"))


def test_prefix_without_an_owner_is_left_alone() -> None:
    store = MemoryStore()
    assert run_decision(disown_prefix("exp", "t"), store.send) == NothingOwned()
    assert store.objects == {}


def test_results_are_deleted_and_foreign_objects_are_kept() -> None:
    store = MemoryStore()
    publisher(store).publish("a")
    foreign = {f"{KEYS.prefix}notes.txt", f"{KEYS.prefix}o/x", "exp/other/o/1-aa-0-x"}
    for key in foreign:
        store.put(key, b"x")
    assert run_decision(delete_step(KEYS, 2, "t"), store.send) == DeletedStep(deleted=2)
    assert store.objects.keys() == foreign | {KEYS.pointer}


def test_running_attempt_is_superseded_by_a_deletion() -> None:
    store = MemoryStore()
    held(store)
    run_decision(delete_step(KEYS, 2, "t"), store.send)
    assert claim(store, "bb", 7) == SupersededOutcome(deletion_order(2))


def test_step_without_a_pointer_gets_one() -> None:
    store = MemoryStore()
    run_decision(delete_step(KEYS, 2, "t"), store.send)
    assert store.objects.keys() == {KEYS.pointer}


def test_pointer_of_a_later_owner_is_left_alone() -> None:
    store = MemoryStore()
    run_decision(claim_step(ClaimTerms(KEYS, order(1, owner_epoch=3), "f1", "aa")), store.send)
    before = dict(store.objects)
    assert run_decision(delete_step(KEYS, 2, "t"), store.send) == DeletedStep(left_to=order(1, owner_epoch=3))
    assert store.objects == before


def test_attempt_of_the_next_owner_ranks_above_a_deletion() -> None:
    assert deletion_order(2) < replace(order(0), owner_epoch=3)
    assert deletion_order(2) > order(10**6, owner_epoch=1)


def test_refused_deletion_counts_what_is_left() -> None:
    store = MemoryStore(deletes=FenceReply.FORBIDDEN)
    publisher(store).publish("a")
    assert run_decision(delete_step(KEYS, 2, "t"), store.send) == DeletedStep(failed=2)


def test_incomplete_listing_deletes_nothing() -> None:
    store = MemoryStore(complete=False)
    publisher(store).publish("a")
    assert run_decision(delete_step(KEYS, 2, "t"), store.send) == DeletedStep(incomplete=True)
    assert len(store.objects) == 3


def test_experiment_is_deleted_with_all_steps_that_are_listed_or_named() -> None:
    store = MemoryStore()
    store.put(KEYS.owner, OwnerRecord("x-0", OwnerIdentity("a", "b", "exp"), 3, "able"))
    publisher(store).publish("a")
    outcome = run_decision(delete_experiment("exp", "t", ("convert",)), store.send)
    assert isinstance(outcome, DeletedExperiment)
    assert outcome.steps == (("convert", DeletedStep()), ("train", DeletedStep(deleted=2)))
    assert store.objects.keys() == {KEYS.owner, KEYS.pointer, "exp/convert/run.json"}


def test_incomplete_listing_of_an_experiment_is_reported() -> None:
    store = MemoryStore(complete=False)
    store.put(KEYS.owner, OwnerRecord("x-0", None, 3))
    assert run_decision(delete_experiment("exp", "t"), store.send) == DeletedExperiment(
        OwnerRecord("x-0", None, 3), (), incomplete=True
    )


def test_damaged_step_is_left_and_the_next_one_is_deleted() -> None:
    store = MemoryStore()
    store.put(KEYS.owner, OwnerRecord("x-0", OwnerIdentity("a", "b", "exp"), 3, "able"))
    publisher(store).publish("a")

    def send(request: FenceRequest) -> FenceAnswer:
        if request == GetRecord("exp/convert/run.json"):
            return FoundRecord(OwnerRecord("x-0", None, 3), ObjectVersion("1"), 0.0)
        return store.send(request)

    outcome = run_decision(delete_experiment("exp", "t", ("convert",)), send)
    assert isinstance(outcome, DeletedExperiment)
    assert outcome.steps == (
        ("convert", DeletedStep(problem="exp/convert/run.json isn't a pointer")),
        ("train", DeletedStep(deleted=2)),
    )


def test_step_whose_pointer_cannot_be_read_is_left_and_the_next_one_is_deleted() -> None:
    store = MemoryStore()
    store.put(KEYS.owner, OwnerRecord("x-0", OwnerIdentity("a", "b", "exp"), 3, "able"))
    publisher(store).publish("a")
    run = DecisionRun(delete_experiment("exp", "t", ("convert",)))

    def send(request: FenceRequest) -> FenceAnswer:
        if request == GetRecord("exp/convert/run.json"):
            raise InvalidInput("not JSON")
        return store.send(request)

    with pytest.raises(InvalidInput):
        run.finish(send)
    rest = leave_step(run.state, "not JSON")
    assert rest is not None
    outcome = run_decision(rest, send)
    assert isinstance(outcome, DeletedExperiment)
    assert outcome.steps == (("convert", DeletedStep(problem="not JSON")), ("train", DeletedStep(deleted=2)))


def test_owner_is_not_left_like_a_step() -> None:
    assert leave_step(delete_experiment("exp", "t", ("train",)), "not JSON") is None
