"""State of a process that holds a step: pointer's content and version as far as it knows, and how it changes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DamagedStore,
    Decision,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    FoundRecord,
    GetRecord,
    PointerGone,
    SupersededOutcome,
    UpdateRecord,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.found_records import pointer_in
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, ObjectVersion, PublishedSet, StepPointer

NamedSets = tuple[tuple[str, PublishedSet], ...]
"""Manifests by key."""


@dataclass(frozen=True, slots=True)
class StepHolder:
    """A claimed step. Its decisions run one after the other, each from the holder that the one before has returned.

    Attributes:
        keys: of the step.
        pointer: content that was written or adopted last.
        version: of that content.
        sets: manifests that the pointer names, by key.
        writes: number of writes of the pointer that were started, for their ids.
        listed: store's times at which keys were known to be listed as garbage.
    """

    keys: StepKeys
    pointer: StepPointer
    version: ObjectVersion
    sets: NamedSets
    writes: int = 0
    listed: tuple[tuple[str, float], ...] = ()

    def set_of(self, fingerprint: str) -> PublishedSet | None:
        """Return the published set of a fingerprint, or None."""
        slot = self.pointer.slot_of(fingerprint)
        return dict(self.sets)[slot.manifest] if slot else None


@dataclass(frozen=True, slots=True)
class HeldOutcome(FenceOutcome):
    """The change is in effect, or wasn't needed."""

    holder: StepHolder


class PointerChange(Protocol):
    """Change of a pointer that can be applied to any content of one's own."""

    @property
    def sets(self) -> NamedSets:
        """Manifests that the change names."""

    def apply(self, holder: StepHolder) -> StepPointer | None:
        """Return the changed content, without the fields of the write; None if there is nothing to change."""


def change_pointer(holder: StepHolder, change: PointerChange) -> Decision | FenceOutcome:
    """Return the decision that writes a change of a held pointer, by rules 3 and 4."""
    body = change.apply(holder)
    if body is None:
        return HeldOutcome(holder)
    named = {slot.manifest for slot in body.slots}
    if named - dict(holder.sets + change.sets).keys():
        return DamagedStore(holder.keys.pointer, "names a manifest that this process neither read nor wrote")
    body = replace(body, write_id=write_id(holder.pointer.token, holder.writes), seq=holder.pointer.seq + 1)
    return _ChangeWrite(replace(holder, writes=holder.writes + 1), change, body)


def write_id(token: str, writes: int) -> str:
    """Return the id of a write: no other process has the token, and this one counts its writes."""
    return f"{token}-{writes}"


def superseded(pointer: StepPointer, uid: str) -> SupersededOutcome:
    """Return the outcome for an attempt of an experiment that finds a pointer of another one."""
    return SupersededOutcome(pointer.order, pointer.order.attempt if pointer.order.uid == uid else None)


def after_change(holder: StepHolder, change: PointerChange, body: StepPointer, version: ObjectVersion) -> StepHolder:
    """Return the holder once a content is in effect."""
    named = {slot.manifest for slot in body.slots}
    sets = tuple((key, published) for key, published in dict(holder.sets + change.sets).items() if key in named)
    listed = tuple(entry for entry in holder.listed if entry[0] in body.garbage)
    return replace(holder, pointer=body, version=version, sets=sets, listed=listed)


@dataclass(frozen=True, slots=True)
class _ChangeWrite:
    holder: StepHolder
    change: PointerChange
    body: StepPointer

    @property
    def request(self) -> FenceRequest:
        return UpdateRecord(self.holder.keys.pointer, self.body, self.holder.version)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if isinstance(answer, WrittenRecord):
            return HeldOutcome(after_change(self.holder, self.change, self.body, answer.version))
        return _ChangeRead(self.holder, self.change, self.body)


@dataclass(frozen=True, slots=True)
class _ChangeRead:
    holder: StepHolder
    change: PointerChange
    body: StepPointer

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.holder.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return PointerGone(self.holder.keys.pointer)
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, self.holder.keys.pointer)
        if isinstance(pointer, DamagedStore):
            return pointer
        return resolve_change(self.holder, self.change, self.body, pointer, answer.version)


def is_write_in_effect(found: StepPointer, sent: StepPointer) -> bool:
    """Return whether the content that was read is the one that was sent."""
    return found.write_id == sent.write_id


def resolve_change(
    holder: StepHolder, change: PointerChange, sent: StepPointer, found: StepPointer, version: ObjectVersion
) -> Decision | FenceOutcome:
    """Decide by rule 4 after a refused or unanswered write, from what was just read."""
    if found.token != sent.token:
        return superseded(found, sent.order.uid)
    if is_write_in_effect(found, sent):
        return HeldOutcome(after_change(holder, change, found, version))
    return change_pointer(adopted(holder, found, version), change)


def adopted(holder: StepHolder, found: StepPointer, version: ObjectVersion) -> StepHolder:
    """Return the holder with version and content of an earlier request of its own that arrived late."""
    return replace(holder, pointer=found, version=version)


@dataclass(frozen=True, slots=True)
class PublishChange:
    """Publish of a manifest: it takes the current slot, and another fingerprint moves to the previous one."""

    slot: FingerprintSlot
    published: PublishedSet

    @property
    def sets(self) -> NamedSets:
        """The manifest that is published."""
        return ((self.slot.manifest, self.published),)

    def apply(self, holder: StepHolder) -> StepPointer | None:
        """Return the pointer's content with the manifest."""
        return published_pointer(holder.pointer, self.slot)


def published_pointer(pointer: StepPointer, slot: FingerprintSlot) -> StepPointer:
    """Return a pointer's content with a manifest in the current slot."""
    others = [other for other in pointer.slots if other.fingerprint != slot.fingerprint]
    return replace(pointer, current=slot, previous=others[0] if others else None)


def publish(holder: StepHolder, slot: FingerprintSlot, published: PublishedSet) -> Decision | FenceOutcome:
    """Return the decision that names an uploaded manifest: HeldOutcome, SupersededOutcome, PointerGone, DamagedStore.

    Raises:
        ValueError: the manifest names a file that neither this process wrote nor the fingerprint's manifest names.
    """
    before = holder.set_of(slot.fingerprint)
    kept = {(file.path, file.key) for file in before.files} if before else set()
    names = [slot.manifest, *(file.key for file in published.files if (file.path, file.key) not in kept)]
    for key in names:
        parts = holder.keys.parse(key)
        if parts is None or (parts.epoch, parts.token) != (holder.pointer.epoch, holder.pointer.token):
            raise ValueError(f"The key {key} is neither of this process nor named by the fingerprint's manifest")
    return change_pointer(holder, PublishChange(slot, published))


@dataclass(frozen=True, slots=True)
class PointerCreation:
    """Body of a first or taken-over pointer, and the version that it replaces."""

    body: StepPointer
    version: ObjectVersion | None

    def request(self, key: str, *, after_jitter: bool) -> FenceRequest:
        """Return the conditional write."""
        if self.version is None:
            return CreateRecord(key, self.body, after_jitter)
        return UpdateRecord(key, self.body, self.version)
