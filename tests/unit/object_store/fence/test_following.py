"""Look of another node: the step is done, taken, or left to node 0."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import order, publisher

from maskrcnn_trainer.object_store.fence.exchange_types import (
    DamagedStore,
    FenceOutcome,
    GetRecord,
    PointerGone,
    SupersededOutcome,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.following import (
    FollowedStepDone,
    FollowedStepOpen,
    FollowTerms,
    UnclaimedStep,
    follow_step,
)
from maskrcnn_trainer.object_store.fence.keys import owner_key
from maskrcnn_trainer.object_store.fence.records import AttemptOrder, OwnerIdentity, OwnerRecord
from maskrcnn_trainer.object_store.fence.tombstones import delete_experiment, deletion_order
from maskrcnn_trainer.shared.owner_state import OwnerState

ME = OwnerIdentity("me", "ns", "exp")
OTHER = OwnerIdentity("other", "ns", "exp")
MINE = FollowTerms(KEYS, ME, "2026-01-31T12:00:00Z", "uid-1", 2, "f1")
"""The attempt of this node. Those in the store are of the same experiment and of ownerEpoch 1."""
CREATED_LATER = replace(MINE, uid="uid-2", created="2026-02-01T12:00:00Z")
CREATED_BEFORE = replace(MINE, uid="uid-2", created="2026-01-01T12:00:00Z")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def look(store: MemoryStore, terms: FollowTerms = MINE, claimed: AttemptOrder | None = None) -> FenceOutcome:
    return run_decision(follow_step(terms, claimed), store.send)


def finish(store: MemoryStore, attempt: int, fingerprint: str = "f1") -> None:
    publisher(store, f"t{attempt}", attempt, fingerprint).publish("result", fingerprint=fingerprint, result="result")


def own(store: MemoryStore, owner: OwnerIdentity | None, epoch: int = 1) -> None:
    store.put(owner_key("exp"), OwnerRecord("w", owner, epoch))


def delete(store: MemoryStore) -> None:
    own(store, ME)
    run_decision(delete_experiment("exp", "dd", (KEYS.step,)), store.send)


def test_step_without_a_pointer_is_unclaimed(store: MemoryStore) -> None:
    assert look(store) == UnclaimedStep()


def test_earlier_attempt_is_left_to_node_0(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    assert look(store) == FollowedStepOpen()


def test_result_of_an_earlier_attempt_is_left_to_the_claim_of_node_0(store: MemoryStore) -> None:
    finish(store, 1)
    assert look(store) == FollowedStepOpen()


def test_own_attempt_without_a_result_runs_and_its_order_is_known(store: MemoryStore) -> None:
    publisher(store, "t2", 2).publish("checkpoint")
    assert look(store) == FollowedStepOpen(order(2))


@pytest.mark.parametrize("attempt", [2, 3])
def test_result_of_this_attempt_or_a_later_one_ends_the_node(store: MemoryStore, attempt: int) -> None:
    finish(store, attempt)
    assert isinstance(look(store), FollowedStepDone)


def test_result_of_another_fingerprint_does_not_count(store: MemoryStore) -> None:
    finish(store, 2, fingerprint="f2")
    assert look(store) == FollowedStepOpen(order(2))


def test_later_attempt_of_the_experiment_supersedes_and_is_named(store: MemoryStore) -> None:
    publisher(store, "t3", 3)
    outcome = look(store)
    assert isinstance(outcome, SupersededOutcome)
    assert outcome.attempt == 3


def test_attempts_of_one_experiment_are_compared_without_the_owner(store: MemoryStore) -> None:
    publisher(store, "t3", 3)
    store.requests.clear()
    look(store)
    assert store.requests == [GetRecord(KEYS.pointer)]


def test_experiment_that_was_created_later_supersedes(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    own(store, ME)
    outcome = look(store, CREATED_BEFORE)
    assert isinstance(outcome, SupersededOutcome)
    assert outcome.attempt is None


def test_step_of_an_experiment_that_was_created_earlier_is_unclaimed(store: MemoryStore) -> None:
    finish(store, 1)
    own(store, ME)
    assert look(store, CREATED_LATER) == UnclaimedStep(order(1))


def test_step_of_a_former_owner_is_unclaimed(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    own(store, ME, epoch=2)
    assert look(store, CREATED_BEFORE) == UnclaimedStep(order(1))


@pytest.mark.parametrize("owner", [None, OTHER, replace(ME, namespace="other")])
def test_step_below_the_prefix_of_another_owner_is_unclaimed(store: MemoryStore, owner: OwnerIdentity | None) -> None:
    publisher(store, "t1", 1)
    own(store, owner)
    assert look(store, CREATED_BEFORE) == UnclaimedStep(order(1))


def test_step_of_an_owner_that_node_0_will_replace_is_unclaimed(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    own(store, ME)
    assert look(store, replace(CREATED_BEFORE, take_over_from=OwnerState("me", 1))) == UnclaimedStep(order(1))


def test_step_without_an_owner_is_unclaimed(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    assert look(store, CREATED_BEFORE) == UnclaimedStep(order(1))


@pytest.mark.parametrize("owner", [None, ME])
def test_step_that_was_deleted_before_the_claim_is_unclaimed(store: MemoryStore, owner: OwnerIdentity | None) -> None:
    finish(store, 2)
    delete(store)
    if owner is not None:
        own(store, owner, epoch=3)
    assert look(store) == UnclaimedStep(deletion_order(2))


def test_deletion_after_the_claim_ends_the_node(store: MemoryStore) -> None:
    finish(store, 2)
    delete(store)
    assert look(store, claimed=order(2)) == SupersededOutcome(deletion_order(2))


def test_pointer_that_is_gone_after_the_claim_ends_the_node(store: MemoryStore) -> None:
    assert look(store, claimed=order(2)) == PointerGone(KEYS.pointer)


@pytest.mark.parametrize("mine", [order(2, owner_epoch=1), order(2, owner_epoch=9)])
def test_another_experiment_after_the_claim_supersedes_whatever_its_order(
    store: MemoryStore, mine: AttemptOrder
) -> None:
    publisher(store, "t1", 1)
    assert look(store, replace(MINE, uid="uid-2"), replace(mine, uid="uid-2")) == SupersededOutcome(order(1))


def test_result_ends_the_node_with_success_though_another_experiment_has_the_step(store: MemoryStore) -> None:
    finish(store, 1)
    assert isinstance(look(store, CREATED_BEFORE, replace(order(2), uid="uid-2")), FollowedStepDone)


def test_manifest_that_is_absent_under_an_unchanged_pointer_is_damage(store: MemoryStore) -> None:
    finish(store, 2)
    manifest = next(key for key in store.objects if key.endswith("manifest.json"))
    del store.objects[manifest]
    assert look(store) == DamagedStore(KEYS.pointer, "names an object that doesn't exist")
