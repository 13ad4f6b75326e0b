"""Look of another node of a worker group at a step that only node 0 claims."""

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
    """Node 0 has the step, or still has to claim it."""


def follow_step(terms: FollowTerms) -> Decision:
    """Return the decision of a look: FollowedStepDone, FollowedStepOpen, SupersededOutcome, DamagedStore."""
    return _PointerForFollowing(terms)


def owner_decides(pointer: StepPointer, terms: FollowTerms) -> bool:
    """Return whether the epoch of the owner is needed to compare the attempt of a pointer with this one.

    Attempts of one experiment are compared by their numbers: node 0 may have raised the epoch meanwhile.
    """
    return pointer.order.uid != terms.uid


def order_of_attempt(pointer: StepPointer, terms: FollowTerms, owner: OwnerRecord | None) -> AttemptOrder | None:
    """Return the order of this attempt; None if node 0 has yet to become the owner, or to be refused.

    Args:
        pointer: with which the order is compared.
        terms: of the look.
        owner: None if it wasn't read, or doesn't exist.
    """
    if not owner_decides(pointer, terms):
        return AttemptOrder(pointer.order.owner_epoch, pointer.order.created, terms.uid, terms.attempt)
    if owner is None or not is_same_owner(owner.owner, terms.owner) or is_to_be_replaced(owner, terms.take_over_from):
        return None
    return AttemptOrder(owner.epoch, terms.created, terms.uid, terms.attempt)


@dataclass(frozen=True, slots=True)
class _PointerForFollowing:
    terms: FollowTerms
    incomplete: ObjectVersion | None = None
    """Version of a pointer whose manifest was absent when it was read."""

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return FollowedStepOpen()
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, self.terms.keys.pointer, self.incomplete)
        if isinstance(pointer, DamagedStore):
            return pointer
        if owner_decides(pointer, self.terms):
            return _OwnerForFollowing(self.terms, pointer, answer.version)
        return _compared(self.terms, pointer, answer.version, None)


@dataclass(frozen=True, slots=True)
class _OwnerForFollowing:
    """Read of the owner after the pointer: its epoch is then at least the one that the pointer's attempt had found."""

    terms: FollowTerms
    pointer: StepPointer
    version: ObjectVersion

    @property
    def request(self) -> FenceRequest:
        return GetRecord(owner_key(self.terms.keys.experiment))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _compared(self.terms, self.pointer, self.version, None)
        if not isinstance(answer, FoundRecord):
            return self
        if not isinstance(answer.content, OwnerRecord):
            return DamagedStore(owner_key(self.terms.keys.experiment), "isn't an owner")
        return _compared(self.terms, self.pointer, self.version, answer.content)


def _compared(
    terms: FollowTerms, pointer: StepPointer, version: ObjectVersion, owner: OwnerRecord | None
) -> Decision | FenceOutcome:
    mine = order_of_attempt(pointer, terms, owner)
    if mine is None or pointer.order < mine:
        return FollowedStepOpen()
    slot = pointer.slot_of(terms.fingerprint)
    return _without_result(terms, pointer, mine) if slot is None else _SetOfStep(terms, pointer, version, mine, slot)


def _without_result(terms: FollowTerms, pointer: StepPointer, mine: AttemptOrder) -> FenceOutcome:
    return superseded(pointer, terms.uid) if pointer.order > mine else FollowedStepOpen()


@dataclass(frozen=True, slots=True)
class _SetOfStep:
    terms: FollowTerms
    pointer: StepPointer
    version: ObjectVersion
    mine: AttemptOrder
    slot: FingerprintSlot

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.slot.manifest)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _PointerForFollowing(self.terms, self.version)
        if not isinstance(answer, FoundRecord):
            return self
        published = set_in(answer, self.slot)
        if isinstance(published, DamagedStore):
            return published
        if published.result is not None:
            return FollowedStepDone(published)
        return _without_result(self.terms, self.pointer, self.mine)
