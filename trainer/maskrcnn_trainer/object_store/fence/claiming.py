"""Rule 2: claim of a step."""

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
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.found_records import pointer_in, set_in
from maskrcnn_trainer.object_store.fence.holding import (
    NamedSets,
    PointerCreation,
    StepHolder,
    is_write_in_effect,
    superseded,
    write_id,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    ObjectVersion,
    PublishedSet,
    StepPointer,
)


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """Terms of a claim.

    Attributes:
        keys: of the step.
        order: of this attempt.
        fingerprint: of the step's results; None deletes what the pointer names.
        token: of this process.
    """

    keys: StepKeys
    order: AttemptOrder
    fingerprint: str | None
    token: str


@dataclass(frozen=True, slots=True)
class ClaimedStep(FenceOutcome):
    """The step is held."""

    holder: StepHolder


@dataclass(frozen=True, slots=True)
class AlreadyDone(FenceOutcome):
    """The result of the fingerprint exists and is current (exit code 0); ``holder`` is None if nothing was written."""

    holder: StepHolder | None
    published: PublishedSet


@dataclass(frozen=True, slots=True)
class _Found:
    pointer: StepPointer
    version: ObjectVersion
    modified: float


def claim_step(terms: ClaimTerms) -> Decision:
    """Return the decision of a claim: ClaimedStep, AlreadyDone, SupersededOutcome, PointerGone, DamagedStore."""
    return _PointerRead(terms)


def is_higher(found: AttemptOrder, mine: AttemptOrder) -> bool:
    """Return whether the attempt of a pointer outranks this one."""
    return found > mine


def may_end_without_write(pointer: StepPointer, terms: ClaimTerms) -> bool:
    """Return whether a result can be reported without a write: the fence and the current slot are right already."""
    return (
        pointer.order == terms.order
        and pointer.current is not None
        and pointer.current.fingerprint == terms.fingerprint
    )


def may_report_result(pointer: StepPointer, terms: ClaimTerms) -> bool:
    """Return whether a lower order may report a result without a claim: the same owner's, current, and of its results.

    Nothing is written, and the fence already is higher. A result in the previous slot doesn't count: a lower order
    can't make it current, so that another edit could drop it.
    """
    return (
        pointer.order.owner_epoch == terms.order.owner_epoch
        and pointer.current is not None
        and pointer.current.fingerprint == terms.fingerprint
    )


def claimed_slots(
    pointer: StepPointer, fingerprint: str | None, *, has_result: bool
) -> tuple[FingerprintSlot | None, FingerprintSlot | None]:
    """Return the slots after a claim: carried over, and swapped if the result of the fingerprint is previous."""
    if fingerprint is None:
        return None, None
    previous = pointer.previous
    if has_result and previous is not None and previous.fingerprint == fingerprint:
        return previous, pointer.current
    return pointer.current, previous


def claimed_pointer(base: StepPointer | None, terms: ClaimTerms, *, has_result: bool, writes: int) -> StepPointer:
    """Return the content that claims a step."""
    identity = write_id(terms.token, writes)
    if base is None:
        return StepPointer(identity, 1, 1, terms.order, terms.token)
    current, previous = claimed_slots(base, terms.fingerprint, has_result=has_result)
    garbage = inherited_garbage(base) if terms.fingerprint is not None else ()
    return StepPointer(identity, base.seq + 1, base.epoch + 1, terms.order, terms.token, current, previous, garbage)


def inherited_garbage(base: StepPointer) -> tuple[str, ...]:
    """Return the garbage that a claim carries over."""
    return base.garbage


def claim_bases(sent_from: _Found | None, found: _Found) -> _Found:  # noqa: ARG001 - replaced in tests
    """Return the content from which a claim is decided again: always the one that was just read."""
    return found


@dataclass(frozen=True, slots=True)
class _PointerRead:
    terms: ClaimTerms
    writes: int = 0
    incomplete: ObjectVersion | None = None
    """Version of a pointer whose manifest was absent when it was read."""

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _write(self.terms, None, (), self.writes)
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, self.terms.keys.pointer, self.incomplete)
        if isinstance(pointer, DamagedStore):
            return pointer
        return _decide(self.terms, _Found(pointer, answer.version, answer.modified), (), self.writes)


def _decide(terms: ClaimTerms, found: _Found, sets: NamedSets, writes: int) -> Decision | FenceOutcome:
    """Decide from a pointer, after reading the manifests that it names."""
    is_outranked = is_higher(found.pointer.order, terms.order)
    if is_outranked and not may_report_result(found.pointer, terms):
        return superseded(found.pointer, terms.order.uid)
    if terms.fingerprint is None:
        return _write(terms, found, (), writes)
    known = dict(sets)
    for slot in found.pointer.slots[:1] if is_outranked else found.pointer.slots:
        if slot.manifest not in known:
            return _SetRead(terms, found, sets, writes, slot)
    published = _result(terms, found.pointer, known)
    if published is not None and (is_outranked or may_end_without_write(found.pointer, terms)):
        return AlreadyDone(None, published)
    if is_outranked:
        return superseded(found.pointer, terms.order.uid)
    return _write(terms, found, sets, writes)


def _result(terms: ClaimTerms, pointer: StepPointer, sets: dict[str, PublishedSet]) -> PublishedSet | None:
    """Return the complete set of the terms' fingerprint."""
    slot = pointer.slot_of(terms.fingerprint) if terms.fingerprint is not None else None
    return sets[slot.manifest] if slot is not None and sets[slot.manifest].result is not None else None


def _write(terms: ClaimTerms, found: _Found | None, sets: NamedSets, writes: int) -> _ClaimWrite:
    base = found.pointer if found else None
    has_result = base is not None and _result(terms, base, dict(sets)) is not None
    body = claimed_pointer(base, terms, has_result=has_result, writes=writes)
    return _ClaimWrite(terms, found, sets, writes + 1, body)


@dataclass(frozen=True, slots=True)
class _SetRead:
    terms: ClaimTerms
    found: _Found
    sets: NamedSets
    writes: int
    slot: FingerprintSlot

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.slot.manifest)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _PointerRead(self.terms, self.writes, self.found.version)
        if not isinstance(answer, FoundRecord):
            return self
        published = set_in(answer, self.slot)
        if isinstance(published, DamagedStore):
            return published
        return _decide(self.terms, self.found, (*self.sets, (self.slot.manifest, published)), self.writes)


@dataclass(frozen=True, slots=True)
class _ClaimWrite:
    terms: ClaimTerms
    base: _Found | None
    sets: NamedSets
    writes: int
    body: StepPointer

    @property
    def request(self) -> FenceRequest:
        creation = PointerCreation(self.body, self.base.version if self.base else None)
        return creation.request(self.terms.keys.pointer, after_jitter=self.writes > 1)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if isinstance(answer, WrittenRecord):
            return self.claimed(answer.version)
        return _ClaimRead(self)

    def claimed(self, version: ObjectVersion) -> FenceOutcome:
        """Return the outcome once the content is in effect."""
        modified = self.base.modified if self.base else 0.0
        listed = tuple((key, modified) for key in self.body.garbage)
        holder = StepHolder(self.terms.keys, self.body, version, self.sets, self.writes, listed)
        published = _result(self.terms, self.body, dict(self.sets))
        return ClaimedStep(holder) if published is None else AlreadyDone(holder, published)


@dataclass(frozen=True, slots=True)
class _ClaimRead:
    write: _ClaimWrite

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.write.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        write = self.write
        if answer is FenceReply.NOT_FOUND:
            if write.base is not None:
                return PointerGone(write.terms.keys.pointer)
            return _write(write.terms, None, (), write.writes)
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, write.terms.keys.pointer)
        if isinstance(pointer, DamagedStore):
            return pointer
        found = _Found(pointer, answer.version, answer.modified)
        if found.pointer.token == write.terms.token and is_write_in_effect(found.pointer, write.body):
            return write.claimed(found.version)
        return _decide(write.terms, claim_bases(write.base, found), write.sets, write.writes)
