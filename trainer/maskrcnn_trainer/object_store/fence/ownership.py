"""Rule 1: who owns an experiment's prefix."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    CreateRecord,
    DamagedStore,
    Decision,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    FoundRecord,
    GetRecord,
    UpdateRecord,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.keys import owner_key
from maskrcnn_trainer.object_store.fence.records import ObjectVersion, OwnerIdentity, OwnerRecord
from maskrcnn_trainer.shared.owner_state import OwnerState


@dataclass(frozen=True, slots=True)
class OwnershipTerms:
    """Terms of a check of the owner.

    Attributes:
        experiment: name, which is the first part of all keys.
        owner: who checks.
        token: of this process.
        take_over_from: the only state of another owner, or of oneself, that is replaced.
        store: what a probe of the store found; None if it didn't run yet.
    """

    experiment: str
    owner: OwnerIdentity
    token: str
    take_over_from: OwnerState | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class OwnedPrefix(FenceOutcome):
    """The prefix is one's own, with this epoch."""

    record: OwnerRecord


@dataclass(frozen=True, slots=True)
class ProbeNeeded(FenceOutcome):
    """The store must be probed before ``owner.json`` is written; then the check starts again with its finding."""


def own_prefix(terms: OwnershipTerms) -> Decision:
    """Return the decision about an experiment's owner."""
    return _OwnerRead(terms)


def is_same_owner(found: OwnerIdentity | None, owner: OwnerIdentity) -> bool:
    """Return whether the owner in a record is this one: id and namespace are equal."""
    return found is not None and (found.owner_id, found.namespace) == (owner.owner_id, owner.namespace)


def of_another_owner(record: OwnerRecord, owner: OwnerIdentity, by: OwnerIdentity) -> AnothersOwner:
    """Return the outcome for a record of another owner.

    Args:
        record: that was read.
        owner: of the record.
        by: owner that has found it.
    """
    return AnothersOwner(record, str(OwnerState(owner.owner_id, record.epoch)), by)


def is_to_be_replaced(record: OwnerRecord, take_over_from: OwnerState | None) -> bool:
    """Return whether a record is exactly the state that takeOverFrom names."""
    return (
        take_over_from is not None
        and record.owner is not None
        and (record.owner.owner_id, record.epoch) == (take_over_from.owner_id, take_over_from.epoch)
    )


def is_own_write(record: OwnerRecord, sent: OwnerRecord | None) -> bool:
    """Return whether a record is the one that was sent."""
    return sent is not None and record.write_id == sent.write_id


def new_owner(terms: OwnershipTerms, before: OwnerRecord | None, write_id: str) -> OwnerRecord:
    """Return the record that replaces another one, or the first one."""
    return OwnerRecord(write_id, terms.owner, before.epoch + 1 if before else 1, terms.store or "")


@dataclass(frozen=True, slots=True)
class OwnershipLost(FenceOutcome):
    """The prefix was deleted or taken over since it was checked (exit code 75); None if ``owner.json`` is gone."""

    record: OwnerRecord | None


def confirm_owner(experiment: str, owned: OwnerRecord) -> Decision:
    """Return the decision that checks the owner again after each claim: OwnedPrefix, OwnershipLost.

    A deletion writes its tombstone first and lists the steps then. So it finds each step whose claim precedes a check
    that still found the owner, and a claim that comes later is given up.
    """
    return _OwnerConfirmation(experiment, owned)


def is_still_owned(record: OwnerRecord, owned: OwnerRecord) -> bool:
    """Return whether no other owner, and no deletion, has followed."""
    return record.owner == owned.owner and record.epoch == owned.epoch


@dataclass(frozen=True, slots=True)
class _OwnerConfirmation:
    experiment: str
    owned: OwnerRecord

    @property
    def request(self) -> FenceRequest:
        return GetRecord(owner_key(self.experiment))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return OwnershipLost(None)
        if not isinstance(answer, FoundRecord):
            return self
        if not isinstance(answer.content, OwnerRecord):
            return DamagedStore(owner_key(self.experiment), "isn't an owner")
        return (
            OwnedPrefix(answer.content) if is_still_owned(answer.content, self.owned) else OwnershipLost(answer.content)
        )


@dataclass(frozen=True, slots=True)
class _OwnerRead:
    terms: OwnershipTerms
    writes: int = 0
    sent: OwnerRecord | None = None

    @property
    def request(self) -> FenceRequest:
        return GetRecord(owner_key(self.terms.experiment))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return self._write(None, None)
        if not isinstance(answer, FoundRecord):
            return self
        if not isinstance(answer.content, OwnerRecord):
            return DamagedStore(owner_key(self.terms.experiment), "isn't an owner")
        return self._found(answer.content, answer.version)

    def _found(self, record: OwnerRecord, version: ObjectVersion) -> Decision | FenceOutcome:
        if is_own_write(record, self.sent):
            return OwnedPrefix(record)
        if record.owner is None or is_to_be_replaced(record, self.terms.take_over_from):
            return self._write(record, version)
        if is_same_owner(record.owner, self.terms.owner):
            return OwnedPrefix(record)
        return of_another_owner(record, record.owner, self.terms.owner)

    def _write(self, before: OwnerRecord | None, version: ObjectVersion | None) -> Decision | FenceOutcome:
        terms = self.terms
        if terms.store is None and before is not None and before.store:
            terms = replace(terms, store=before.store)
        if terms.store is None:
            return ProbeNeeded()
        body = new_owner(terms, before, f"{terms.token}-{self.writes}")
        return _OwnerWrite(self.terms, self.writes + 1, body, version)


@dataclass(frozen=True, slots=True)
class _OwnerWrite:
    terms: OwnershipTerms
    writes: int
    body: OwnerRecord
    version: ObjectVersion | None

    @property
    def request(self) -> FenceRequest:
        key = owner_key(self.terms.experiment)
        if self.version is None:
            return CreateRecord(key, self.body, after_jitter=self.writes > 1)
        return UpdateRecord(key, self.body, self.version)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if isinstance(answer, WrittenRecord):
            return OwnedPrefix(self.body)
        return _OwnerRead(self.terms, self.writes, self.body)
