"""Tests of the check of an owner."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore

from maskrcnn_trainer.object_store.fence.exchange_types import AnothersOwner, FenceOutcome, GetRecord, run_decision
from maskrcnn_trainer.object_store.fence.ownership import (
    OwnedPrefix,
    OwnershipLost,
    OwnershipTerms,
    ProbeNeeded,
    confirm_owner,
    own_prefix,
)
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, OwnerRecord
from maskrcnn_trainer.shared.owner_state import OwnerState

ME = OwnerIdentity("me", "team", "exp")
OTHER = OwnerIdentity("other", "team", "exp")
TERMS = OwnershipTerms("exp", ME, "t", store="able")


def owned_by(owner: OwnerIdentity | None, epoch: int = 3) -> MemoryStore:
    store = MemoryStore()
    store.put(KEYS.owner, OwnerRecord("x-0", owner, epoch, "able"))
    return store


def check(store: MemoryStore, terms: OwnershipTerms = TERMS) -> FenceOutcome:
    return run_decision(own_prefix(terms), store.send)


def test_absent_owner_is_created_with_epoch_1() -> None:
    outcome = check(MemoryStore())
    assert outcome == OwnedPrefix(OwnerRecord("t-0", ME, 1, "able"))


def test_absent_owner_is_not_created_before_the_store_is_probed() -> None:
    store = MemoryStore()
    assert check(store, replace(TERMS, store=None)) == ProbeNeeded()
    assert store.objects == {}


def test_own_record_is_kept_without_a_write() -> None:
    store = owned_by(ME)
    assert check(store, replace(TERMS, store=None)) == OwnedPrefix(OwnerRecord("x-0", ME, 3, "able"))
    assert store.requests == [GetRecord(KEYS.owner)]


@pytest.mark.parametrize("owner", [OTHER, replace(ME, namespace="other")])
def test_record_of_another_id_or_namespace_is_refused_with_the_value_to_pass(owner: OwnerIdentity) -> None:
    store = owned_by(owner)
    outcome = check(store)
    assert isinstance(outcome, AnothersOwner)
    assert outcome.take_over_from == f"{owner.owner_id}/3"
    assert outcome.by == ME
    assert store.writes == 1


def test_take_over_replaces_exactly_the_named_state() -> None:
    outcome = check(owned_by(OTHER), replace(TERMS, take_over_from=OwnerState("other", 3)))
    assert outcome == OwnedPrefix(OwnerRecord("t-0", ME, 4, "able"))


def test_take_over_of_another_epoch_is_refused() -> None:
    assert isinstance(check(owned_by(OTHER), replace(TERMS, take_over_from=OwnerState("other", 2))), AnothersOwner)


def test_take_over_may_name_oneself() -> None:
    outcome = check(owned_by(ME), replace(TERMS, take_over_from=OwnerState("me", 3)))
    assert isinstance(outcome, OwnedPrefix)
    assert outcome.record.epoch == 4


def test_tombstone_is_replaced_and_keeps_what_the_probe_found() -> None:
    outcome = check(owned_by(None), replace(TERMS, store=None))
    assert outcome == OwnedPrefix(OwnerRecord("t-0", ME, 4, "able"))


def test_owner_that_is_unchanged_is_confirmed() -> None:
    store = owned_by(ME)
    record = OwnerRecord("x-0", ME, 3, "able")
    assert run_decision(confirm_owner("exp", record), store.send) == OwnedPrefix(record)


@pytest.mark.parametrize("after", [owned_by(None, 4), owned_by(OTHER, 4), owned_by(ME, 4), MemoryStore()])
def test_owner_that_was_deleted_or_replaced_is_lost(after: MemoryStore) -> None:
    assert isinstance(run_decision(confirm_owner("exp", OwnerRecord("x-0", ME, 3)), after.send), OwnershipLost)


@pytest.mark.parametrize("text", ["other/3", "a/b/12"])
def test_value_to_pass_is_the_one_that_a_refusal_shows(text: str) -> None:
    assert str(OwnerState.parse(text)) == text


@pytest.mark.parametrize("text", ["", "other", "/3", "other/", "other/0", "other/03", "other/x", "other/3\n"])
def test_value_that_names_no_state_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as my-cluster/3"):
        OwnerState.parse(text)
