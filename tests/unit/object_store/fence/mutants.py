"""Mutants: each breaks one sentence of the design, and the enumeration of a scenario must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from maskrcnn_trainer.object_store.fence import (
    claiming,
    cleaning,
    following,
    holding,
    node_logs,
    outside_cleaning,
    ownership,
    result_reading,
    tombstones,
    uploading,
)
from maskrcnn_trainer.object_store.fence.exchange_types import DamagedStore, SupersededOutcome
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    NodeLog,
    ObjectVersion,
    OwnerRecord,
    StepPointer,
)
from maskrcnn_trainer.shared.owner_state import OwnerState

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """A broken sentence.

    Attributes:
        rule: number of the rule.
        scenario: whose enumeration finds it.
        invariant: that it breaks first.
        patch: breaks it.
    """

    rule: int
    scenario: str
    invariant: str
    patch: Patch


MUTANTS: dict[str, Mutant] = {}
"""Mutants by what they do."""


def mutant(rule: int, scenario: str, invariant: str) -> Callable[[Patch], Patch]:
    """Add a mutant, whose name is that of the function."""

    def add(patch: Patch) -> Patch:
        MUTANTS[patch.__name__] = Mutant(rule, scenario, invariant, patch)
        return patch

    return add


@mutant(1, "takeover-swap-restarts", "5")
def take_over_compares_only_the_id(patch: pytest.MonkeyPatch) -> None:
    def by_id(record: OwnerRecord, take: OwnerState | None) -> bool:
        return record.owner is not None and take is not None and record.owner.owner_id == take.owner_id

    patch.setattr(ownership, "is_to_be_replaced", by_id)


@mutant(1, "takeover-faultless", "8")
def take_over_keeps_the_owner_epoch(patch: pytest.MonkeyPatch) -> None:
    new = ownership.new_owner

    def same_epoch(terms: Any, before: OwnerRecord | None, write_id: str) -> OwnerRecord:
        return replace(new(terms, before, write_id), epoch=before.epoch if before else 1)

    patch.setattr(ownership, "new_owner", same_epoch)


@mutant(1, "clock", "5")
def take_over_never_replaces_oneself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ownership, "is_to_be_replaced", lambda record, take: False)


@mutant(4, "owner-create-small", "5")
def refused_write_of_the_owner_ends_as_superseded(patch: pytest.MonkeyPatch) -> None:
    after = ownership._OwnerRead.after

    def literal(self: Any, answer: Any) -> Any:
        if self.sent is not None and getattr(answer, "content", self.sent).write_id != self.sent.write_id:
            return SupersededOutcome(AttemptOrder(0, "", "", 0))
        return after(self, answer)

    patch.setattr(ownership._OwnerRead, "after", literal)


@mutant(2, "claim-three-faultless", "2")
def claim_compares_no_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "is_higher", lambda found, mine: False)


@mutant(2, "claim-three-faultless", "5")
def equal_order_is_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "is_higher", lambda found, mine: found >= mine)


@mutant(2, "result-back-small", "2")
def result_ends_a_claim_without_a_write(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "may_end_without_write", lambda pointer, terms: True)


@mutant(2, "outranked-finishing-small", "4")
def lower_order_reports_what_is_not_a_result(patch: pytest.MonkeyPatch) -> None:
    def any_set(terms: Any, pointer: StepPointer, sets: Any) -> Any:
        slot = pointer.slot_of(terms.fingerprint)
        return sets[slot.manifest] if slot is not None and pointer.order > terms.order else None

    patch.setattr(claiming, "_result", any_set)


@mutant(2, "swap", "4")
def claim_never_swaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        claiming, "claimed_slots", lambda pointer, fingerprint, *, has_result: (pointer.current, pointer.previous)
    )


@mutant(2, "swap", "4")
def swap_loses_the_other_slot(patch: pytest.MonkeyPatch) -> None:
    slots = claiming.claimed_slots

    def lost(pointer: StepPointer, fingerprint: str | None, *, has_result: bool) -> Any:
        found = slots(pointer, fingerprint, has_result=has_result)
        return found if found[0] == pointer.current else (found[0], None)

    patch.setattr(claiming, "claimed_slots", lost)


@mutant(2, "edits-clean", "4")
def claim_moves_the_slots(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "claimed_slots", lambda pointer, fingerprint, *, has_result: (None, pointer.current))


@mutant(2, "publish-small", "4")
def claim_carries_nothing_over(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "claimed_slots", lambda pointer, fingerprint, *, has_result: (None, None))


@mutant(2, "publish-small", "7")
def claim_keeps_the_epoch(patch: pytest.MonkeyPatch) -> None:
    claimed = claiming.claimed_pointer

    def same_epoch(base: StepPointer | None, *args: Any, **kwargs: Any) -> StepPointer:
        return replace(claimed(base, *args, **kwargs), epoch=base.epoch if base else 1)

    patch.setattr(claiming, "claimed_pointer", same_epoch)


@mutant(4, "publish-small", "4")
def claim_is_decided_again_from_the_old_content(patch: pytest.MonkeyPatch) -> None:
    def stale(sent_from: Any, found: Any) -> Any:
        if sent_from is None:
            return found
        old = sent_from.pointer
        return replace(found, pointer=replace(found.pointer, current=old.current, previous=old.previous))

    patch.setattr(claiming, "claim_bases", stale)


@mutant(3, "edits-clean", "4")
def publish_drops_the_other_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(holding, "published_pointer", lambda pointer, slot: replace(pointer, current=slot, previous=None))


@mutant(3, "swap-zombie-faultless", "4")
def publish_keeps_the_previous_slot(patch: pytest.MonkeyPatch) -> None:
    def kept(pointer: StepPointer, slot: FingerprintSlot) -> StepPointer:
        return replace(pointer, current=slot)

    patch.setattr(holding, "published_pointer", kept)


@mutant(3, "publish", "1")
def names_are_used_again(patch: pytest.MonkeyPatch) -> None:
    take = uploading.UploadNames.take

    def same(self: Any, path: str) -> Any:
        key, _ = take(replace(self, number=1 if path == "manifest.json" else 0), path.rpartition(".")[2])
        return key, self

    patch.setattr(uploading.UploadNames, "take", same)


@mutant(3, "publish-small", "3")
def unanswered_upload_counts(patch: pytest.MonkeyPatch) -> None:
    def all_sent(self: Any, answer: Any) -> Any:
        return uploading._next(self.names, self.published, (*self.done, *self.sending), ())

    patch.setattr(uploading._FilesUpload, "after", all_sent)


@mutant(3, "publish-small", "3")
def unanswered_manifest_counts(patch: pytest.MonkeyPatch) -> None:
    def sent(self: Any, answer: Any) -> Any:
        slot = FingerprintSlot(self.published.fingerprint, self.key)
        return uploading.UploadedSet(slot, self.published, self.names)

    patch.setattr(uploading._ManifestUpload, "after", sent)


@mutant(4, "clean-one-fault", "4")
def write_of_ones_own_token_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(holding, "is_write_in_effect", lambda found, sent: found.token == sent.token)


@mutant(4, "clean-one-fault", "4")
def write_ids_are_equal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(holding, "write_id", lambda token, writes: token)
    patch.setattr(claiming, "write_id", lambda token, writes: token)


@mutant(4, "clean-one-fault", "5")
def late_write_of_ones_own_ends_as_superseded(patch: pytest.MonkeyPatch) -> None:
    def literal(holder: Any, change: Any, sent: StepPointer, found: StepPointer, version: Any) -> Any:
        if holding.is_write_in_effect(found, sent):
            return holding.HeldOutcome(holding.after_change(holder, change, found, version))
        return holding.superseded(found, sent.order.uid)

    patch.setattr(holding, "resolve_change", literal)


@mutant(4, "publish-small", "2")
def pointer_of_another_token_is_adopted(patch: pytest.MonkeyPatch) -> None:
    def adopt(holder: Any, change: Any, sent: StepPointer, found: StepPointer, version: Any) -> Any:
        if holding.is_write_in_effect(found, sent):
            return holding.HeldOutcome(holding.after_change(holder, change, found, version))
        return holding.change_pointer(replace(holder, pointer=replace(sent, seq=found.seq), version=version), change)

    patch.setattr(holding, "resolve_change", adopt)


@mutant(4, "clean-one-fault", "8")
def version_is_adopted_without_the_content(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(holding, "adopted", lambda holder, found, version: replace(holder, version=version))


@mutant(5, "clean", "6")
def manifests_are_garbage(patch: pytest.MonkeyPatch) -> None:
    named = cleaning.named_keys

    def without(pointer: StepPointer, sets: Any) -> frozenset[str]:
        return named(pointer, sets) - {slot.manifest for slot in pointer.slots}

    patch.setattr(cleaning, "named_keys", without)


@mutant(5, "edits-clean", "6")
def files_of_the_previous_slot_are_garbage(patch: pytest.MonkeyPatch) -> None:
    named = cleaning.named_keys
    patch.setattr(cleaning, "named_keys", lambda pointer, sets: named(replace(pointer, previous=None), sets))


@mutant(5, "clean-thread", "6")
def keys_in_flight_are_garbage(patch: pytest.MonkeyPatch) -> None:
    garbage = cleaning.garbage_of
    patch.setattr(cleaning, "garbage_of", lambda holder, existing, in_flight: garbage(holder, existing, frozenset()))


@mutant(5, "clean", "3")
def keys_of_higher_epochs_are_deleted_without_a_listing(patch: pytest.MonkeyPatch) -> None:
    garbage_is_deleted_without_a_listing(patch)
    keys_of_higher_epochs_are_garbage(patch)


@mutant(6, "delete-running-seeded", "3")
def deletion_keeps_the_slots(patch: pytest.MonkeyPatch) -> None:
    claimed = claiming.claimed_pointer

    def kept(base: StepPointer | None, terms: Any, **kwargs: Any) -> StepPointer:
        body = claimed(base, terms, **kwargs)
        return replace(body, current=base.current, previous=base.previous) if base else body

    patch.setattr(claiming, "claimed_pointer", kept)


@mutant(5, "reader", "9")
def reader_does_not_read_the_pointer_again(patch: pytest.MonkeyPatch) -> None:
    after = result_reading._PointerForRead.after

    def literal(self: Any, answer: Any) -> Any:
        return DamagedStore("", "") if self.incomplete is not None else after(self, answer)

    patch.setattr(result_reading._PointerForRead, "after", literal)


@mutant(5, "reader-fingerprint", "9")
def reader_with_a_fingerprint_takes_the_current_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(result_reading, "slot_for", lambda pointer, fingerprint: pointer.current)


@mutant(6, "delete-owner", "3")
def deletion_takes_keys_of_later_epochs(patch: pytest.MonkeyPatch) -> None:
    def all_keys(holder: Any, keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(key for key in keys if holder.keys.parse(key) is not None)

    patch.setattr(tombstones, "deletable", all_keys)


@mutant(6, "delete-running", "3")
def deletion_claims_nothing(patch: pytest.MonkeyPatch) -> None:
    def unclaimed(self: Any, answer: Any) -> Any:
        step = self.claim.after(answer)
        if isinstance(step, claiming._ClaimWrite):
            version = step.base.version if step.base else ObjectVersion()
            return tombstones._StepListing(holding.StepHolder(step.terms.keys, step.body, version, ()))
        return tombstones.DeletedStep() if not hasattr(step, "request") else tombstones._StepClaim(step)

    patch.setattr(tombstones._StepClaim, "after", unclaimed)


@mutant(6, "delete-running", "10")
def owner_is_not_checked_again_after_a_claim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ownership, "is_still_owned", lambda record, owned: True)


@mutant(6, "delete-running", "8")
def tombstone_keeps_the_owner_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tombstones, "tombstone", lambda before, write_id: OwnerRecord(write_id, None, before.epoch, "probed"))


@mutant(6, "delete-owner", "5")
def deletion_ranks_above_later_owners(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tombstones, "deletion_order", lambda epoch: AttemptOrder(epoch + 1, "~", "", 0))


@mutant(5, "outside", "6")
def cleaner_without_a_claim_lists_keys_of_the_pointers_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outside_cleaning, "is_nameable", lambda epoch, pointer: False)


@mutant(5, "outside-logs", "6")
def cleaner_keeps_the_token_of_a_holder_that_has_finished(patch: pytest.MonkeyPatch) -> None:
    cleaned = outside_cleaning.cleaned_pointer

    def without_claim(found: Any, terms: Any, garbage: tuple[str, ...], *, takes_over: bool) -> StepPointer:
        return cleaned(found, terms, garbage, takes_over=False)

    patch.setattr(outside_cleaning, "cleaned_pointer", without_claim)


@mutant(5, "outside-next-clean", "6")
def cleaner_without_a_claim_lists_named_keys(patch: pytest.MonkeyPatch) -> None:
    named = cleaning.named_keys
    patch.setattr(outside_cleaning, "named_keys", lambda pointer, sets: named(replace(pointer, current=None), sets))


@mutant(5, "group-logs", "6")
def logs_of_other_nodes_are_garbage_before_they_are_named(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cleaning, "logs_to_keep", lambda holder, existing, named: frozenset())


@mutant(5, "group-logs-three", "6")
def earlier_log_of_a_node_is_named_again(patch: pytest.MonkeyPatch) -> None:
    nameable = node_logs.is_nameable_log

    def without_order(log: NodeLog, *, keys: Any, claim: Any, node: int, newest: NodeLog | None) -> bool:
        return log != newest and nameable(log, keys=keys, claim=claim, node=node, newest=None)

    patch.setattr(node_logs, "is_nameable_log", without_order)


@mutant(2, "follow", "12")
def other_node_waits_for_an_unclaimed_step_without_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(following, "UnclaimedStep", lambda found=None: following.FollowedStepOpen())


@mutant(2, "follow-deleted", "11")
def other_node_ends_at_a_deletion_before_any_claim(patch: pytest.MonkeyPatch) -> None:
    compared = following._FoundPointer.compared

    def at_once(self: Any, owner: OwnerRecord | None) -> Any:
        return compared(self, owner) if self.pointer.order.uid else holding.superseded(self.pointer, self.terms.uid)

    patch.setattr(following._FoundPointer, "compared", at_once)


@mutant(2, "follow", "11")
def claim_of_node_0_ends_the_other_nodes(patch: pytest.MonkeyPatch) -> None:
    def at_once(self: Any, mine: AttemptOrder) -> Any:
        return holding.superseded(self.pointer, self.terms.uid)

    patch.setattr(following._FoundPointer, "without_result", at_once)


def claim_drops_the_garbage(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claiming, "inherited_garbage", lambda base: ())


def keys_of_higher_epochs_are_garbage(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cleaning, "is_of_mine_or_lower_epoch", lambda holder, key: holder.keys.parse(key) is not None)


def garbage_is_deleted_without_a_listing(patch: pytest.MonkeyPatch) -> None:
    listing = cleaning.after_listing

    def at_once(holder: Any, listed: Any, in_flight: Any, seconds: float) -> Any:
        garbage = cleaning.garbage_of(holder, frozenset(entry.key for entry in listed.entries), in_flight)
        if garbage:
            return cleaning._Deletion(holder, frozenset(garbage), in_flight, garbage)
        return listing(holder, listed, in_flight, seconds)

    patch.setattr(cleaning, "after_listing", at_once)


NOT_NEEDED: dict[str, tuple[str, Patch]] = {
    patch.__name__: (scenario, patch)
    for scenario, patch in (
        ("clean", claim_drops_the_garbage),
        ("clean", keys_of_higher_epochs_are_garbage),
        ("clean-one-fault", garbage_is_deleted_without_a_listing),
    )
}
"""Sentences that other sentences back up: no invariant breaks without them."""
