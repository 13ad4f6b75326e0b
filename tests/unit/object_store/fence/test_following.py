"""Look of another node: the step is done, taken, or left to node 0."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore
from tests.unit.object_store.fence.steps import publisher

from maskrcnn_trainer.object_store.fence.exchange_types import (
    DamagedStore,
    FenceOutcome,
    GetRecord,
    SupersededOutcome,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.following import FollowedStepDone, FollowedStepOpen, FollowTerms, follow_step
from maskrcnn_trainer.object_store.fence.keys import owner_key
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, OwnerRecord
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


def look(store: MemoryStore, terms: FollowTerms = MINE) -> FenceOutcome:
    return run_decision(follow_step(terms), store.send)


def finish(store: MemoryStore, attempt: int, fingerprint: str = "f1") -> None:
    publisher(store, f"t{attempt}", attempt, fingerprint).publish("result", fingerprint=fingerprint, result="result")


def own(store: MemoryStore, owner: OwnerIdentity | None, epoch: int = 1) -> None:
    store.put(owner_key("exp"), OwnerRecord("w", owner, epoch))


def test_step_that_was_never_claimed_is_left_to_node_0(store: MemoryStore) -> None:
    assert look(store) == FollowedStepOpen()


def test_earlier_attempt_is_left_to_node_0(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    assert look(store) == FollowedStepOpen()


def test_result_of_an_earlier_attempt_is_left_to_the_claim_of_node_0(store: MemoryStore) -> None:
    finish(store, 1)
    assert look(store) == FollowedStepOpen()


def test_own_attempt_without_a_result_runs(store: MemoryStore) -> None:
    publisher(store, "t2", 2).publish("checkpoint")
    assert look(store) == FollowedStepOpen()


@pytest.mark.parametrize("attempt", [2, 3])
def test_result_of_this_attempt_or_a_later_one_ends_the_node(store: MemoryStore, attempt: int) -> None:
    finish(store, attempt)
    assert isinstance(look(store), FollowedStepDone)


def test_result_of_another_fingerprint_does_not_count(store: MemoryStore) -> None:
    finish(store, 2, fingerprint="f2")
    assert look(store) == FollowedStepOpen()


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


def test_experiment_that_was_created_earlier_is_left_to_node_0(store: MemoryStore) -> None:
    finish(store, 1)
    own(store, ME)
    assert look(store, CREATED_LATER) == FollowedStepOpen()


def test_pointer_of_a_former_owner_is_left_to_node_0(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    own(store, ME, epoch=2)
    assert look(store, CREATED_BEFORE) == FollowedStepOpen()


@pytest.mark.parametrize("owner", [None, OTHER, replace(ME, namespace="other")])
def test_prefix_of_another_owner_is_left_to_node_0(store: MemoryStore, owner: OwnerIdentity | None) -> None:
    publisher(store, "t1", 1)
    own(store, owner)
    assert look(store, CREATED_BEFORE) == FollowedStepOpen()


def test_owner_that_node_0_will_replace_is_left_to_it(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    own(store, ME)
    assert look(store, replace(CREATED_BEFORE, take_over_from=OwnerState("me", 1))) == FollowedStepOpen()


def test_pointer_without_an_owner_is_left_to_node_0(store: MemoryStore) -> None:
    publisher(store, "t1", 1)
    assert look(store, CREATED_BEFORE) == FollowedStepOpen()


def test_manifest_that_is_absent_under_an_unchanged_pointer_is_damage(store: MemoryStore) -> None:
    finish(store, 2)
    manifest = next(key for key in store.objects if key.endswith("manifest.json"))
    del store.objects[manifest]
    assert look(store) == DamagedStore(KEYS.pointer, "names an object that doesn't exist")
