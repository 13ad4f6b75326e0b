"""Look of another node of a worker group at a step that only node 0 claims.

A node that comes late can't know from the store alone whether node 0 has still to claim the step, or has ended with a
result that was deleted or replaced since. So a look finds one of three things: an attempt of this experiment has the
step (node 0's claim is there, or will replace that of an earlier attempt), node 0 can't complete the step any more, or
neither, which is worth a limited wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.object_store.fence.exchange_types import (
    DamagedStore,
    Decision,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    FoundRecord,
    GetRecord,
    PointerGone,
)
from maskrcnn_trainer.object_store.fence.found_records import pointer_in, set_in
from maskrcnn_trainer.object_store.fence.holding import superseded
from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key
from maskrcnn_trainer.object_store.fence.ownership import is_same_owner, is_to_be_replaced
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    ObjectVersion,
    OwnerIdentity,
    OwnerRecord,
    PublishedSet,
    StepPointer,
)
from maskrcnn_trainer.shared.owner_state import OwnerState


@dataclass(frozen=True, slots=True)
class FollowTerms:
    """Attempt of a worker group, as its other nodes know it: without the epoch of its owner.

    Attributes:
        keys: of the step.
        owner: of the attempt.
        created: time at which the experiment was created, ``2026-01-31T12:00:00Z``.
        uid: of the experiment.
        attempt: number of the attempt.
        fingerprint: of the step's results.
        take_over_from: state of an owner that node 0 replaces.
    """

    keys: StepKeys
    owner: OwnerIdentity
    created: str
    uid: str
    attempt: int
    fingerprint: str
    take_over_from: OwnerState | None = None


@dataclass(frozen=True, slots=True)
class FollowedStepDone(FenceOutcome):
    """The result exists, and no lower attempt has the step (exit code 0): node 0 starts no rendezvous, or has ended."""

    published: PublishedSet


@dataclass(frozen=True, slots=True)
class FollowedStepOpen(FenceOutcome):
    """Node 0 has the step, or still has to claim it after an earlier attempt of this experiment.

    Attributes:
        claimed: order of this attempt if node 0 has claimed; later looks get it.
    """

    claimed: AttemptOrder | None = None


@dataclass(frozen=True, slots=True)
class UnclaimedStep(FenceOutcome):
    """Node 0 still has to claim the step, or has ended, and its result was deleted or replaced since.

    Attributes:
        found: order of the pointer: that of another experiment, or of a deletion; None if the pointer doesn't exist.
    """

    found: AttemptOrder | None = None


def follow_step(terms: FollowTerms, claimed: AttemptOrder | None = None) -> Decision:
    """Return the decision of a look.

    Its outcomes are FollowedStepDone, FollowedStepOpen, UnclaimedStep, SupersededOutcome, PointerGone, and
    DamagedStore. A deletion, and a pointer that is gone, end this attempt only if an earlier look has found its claim:
    after a deletion that came before, node 0 starts from the beginning.

    Args:
        terms: of the look.
        claimed: order of this attempt, as an earlier look has found it; None if none has.
    """
    return _PointerForFollowing(terms, claimed)


def is_of_this_experiment(pointer: StepPointer, terms: FollowTerms) -> bool:
    """Return whether attempts are compared by their numbers alone: node 0 may have raised the owner's epoch."""
    return pointer.order.uid == terms.uid


def order_of_attempt(
    pointer: StepPointer, terms: FollowTerms, claimed: AttemptOrder | None, owner: OwnerRecord | None
) -> AttemptOrder | None:
    """Return the order of this attempt; None if node 0 has yet to become the owner, or to be refused.

    Args:
        pointer: with which the order is compared.
        terms: of the look.
        claimed: order that an earlier look has found.
        owner: None if it wasn't read, or doesn't exist.
    """
    if is_of_this_experiment(pointer, terms):
        return AttemptOrder(pointer.order.owner_epoch, pointer.order.created, terms.uid, terms.attempt)
    if claimed is not None:
        return claimed
    if owner is None or not is_same_owner(owner.owner, terms.owner) or is_to_be_replaced(owner, terms.take_over_from):
        return None
    return AttemptOrder(owner.epoch, terms.created, terms.uid, terms.attempt)


@dataclass(frozen=True, slots=True)
class _PointerForFollowing:
    terms: FollowTerms
    claimed: AttemptOrder | None = None
    incomplete: ObjectVersion | None = None
    """Version of a pointer whose manifest was absent when it was read."""

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return UnclaimedStep() if self.claimed is None else PointerGone(self.terms.keys.pointer)
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, self.terms.keys.pointer, self.incomplete)
        if isinstance(pointer, DamagedStore):
            return pointer
        found = _FoundPointer(self.terms, self.claimed, pointer, answer.version)
        if self.claimed is None and not is_of_this_experiment(pointer, self.terms):
            return _OwnerForFollowing(found)
        return found.compared(None)


@dataclass(frozen=True, slots=True)
class _FoundPointer:
    terms: FollowTerms
    claimed: AttemptOrder | None
    pointer: StepPointer
    version: ObjectVersion

    @property
    def has_replaced_claim(self) -> bool:
        """Return whether another experiment, or a deletion, has followed this attempt's own claim."""
        return self.claimed is not None and not is_of_this_experiment(self.pointer, self.terms)

    def compared(self, owner: OwnerRecord | None) -> Decision | FenceOutcome:
        """Return the outcome, or the read of the manifest that it needs."""
        mine = order_of_attempt(self.pointer, self.terms, self.claimed, owner)
        if mine is None or (self.pointer.order < mine and not self.has_replaced_claim):
            is_claimable = is_of_this_experiment(self.pointer, self.terms)
            return FollowedStepOpen(self.claimed) if is_claimable else UnclaimedStep(self.pointer.order)
        slot = self.pointer.slot_of(self.terms.fingerprint)
        return self.without_result(mine) if slot is None else _SetOfStep(self, mine, slot)

    def without_result(self, mine: AttemptOrder) -> FenceOutcome:
        """Return the outcome for a pointer that names no result, and isn't one that node 0 still replaces."""
        return FollowedStepOpen(mine) if self.pointer.order == mine else superseded(self.pointer, self.terms.uid)


@dataclass(frozen=True, slots=True)
class _OwnerForFollowing:
    """Read of the owner after the pointer: its epoch is then at least the one that the pointer's attempt had found."""

    found: _FoundPointer

    @property
    def request(self) -> FenceRequest:
        return GetRecord(owner_key(self.found.terms.keys.experiment))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return self.found.compared(None)
        if not isinstance(answer, FoundRecord):
            return self
        if not isinstance(answer.content, OwnerRecord):
            return DamagedStore(owner_key(self.found.terms.keys.experiment), "isn't an owner")
        return self.found.compared(answer.content)


@dataclass(frozen=True, slots=True)
class _SetOfStep:
    found: _FoundPointer
    mine: AttemptOrder
    slot: FingerprintSlot

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.slot.manifest)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _PointerForFollowing(self.found.terms, self.found.claimed, self.found.version)
        if not isinstance(answer, FoundRecord):
            return self
        published = set_in(answer, self.slot)
        if isinstance(published, DamagedStore):
            return published
        if published.result is not None:
            return FollowedStepDone(published)
        return self.found.without_result(self.mine)
