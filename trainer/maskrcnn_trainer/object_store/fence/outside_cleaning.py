"""Rule 5 for a process that doesn't hold the step, such as ``maskrcnn artifacts clean``: an attempt may run.

It deletes listed garbage when an hour has passed since the pointer was last written, by the times of the pointer and of
an object that it writes itself, and it lists garbage that no attempt can name any more:

- Keys of epochs below the pointer's. A publish names only keys of its own claim, and keys that the pointer names. So
  the pointer's holder needn't notice: the content keeps its token, and the holder adopts it by rule 4 as if an earlier
  request of its own had arrived late.
- Keys of the pointer's own epoch, if the holder has published a result and nothing for an hour. It may yet have an
  upload that isn't named, so the content gets the next epoch and another token, as by a claim of the same order. A
  holder that should still run ends with 75, and its next start finds the result.

Garbage of other attempts is left to the next claim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskrcnn_trainer.object_store.fence.cleaning import SECONDS_UNTIL_DELETION, named_keys
from maskrcnn_trainer.object_store.fence.exchange_types import (
    CreateRecord,
    DamagedStore,
    Decision,
    DeleteKeys,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    FoundRecord,
    GetRecord,
    ListedKeys,
    ListKeys,
    UpdateRecord,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.found_records import pointer_in, set_in
from maskrcnn_trainer.object_store.fence.holding import NamedSets
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import (
    MOST_GARBAGE,
    FingerprintSlot,
    ObjectVersion,
    StepPointer,
)


@dataclass(frozen=True, slots=True)
class OutsideTerms:
    """Terms of a cleaning from outside.

    Attributes:
        keys: of the step.
        token: of this process.
        seconds: time between listing and deletion.
    """

    keys: StepKeys
    token: str
    seconds: float = SECONDS_UNTIL_DELETION

    @property
    def clock(self) -> str:
        """Key of the object whose time is the store's."""
        return f"{self.keys.prefix}clock-{self.token}"


@dataclass(frozen=True, slots=True)
class OutsideCleaned(FenceOutcome):
    """Outcome of a cleaning from outside, in numbers of objects.

    Attributes:
        deleted: that are deleted.
        listed: that were listed as garbage now, and can be deleted an hour later.
        waiting: that were listed before, less than an hour ago.
        left: that no pointer names and an attempt may be about to name, or for which the list has no room.
        busy: whether an attempt has written the pointer meanwhile, so that nothing was listed.
        incomplete: whether a listing was incomplete, so that nothing was done.
        forbidden: whether deletion isn't permitted.
    """

    deleted: int = 0
    listed: int = 0
    waiting: int = 0
    left: int = 0
    busy: bool = False
    incomplete: bool = False
    forbidden: bool = False


def clean_outside(terms: OutsideTerms) -> Decision:
    """Return the decision of a cleaning from outside: OutsideCleaned, DamagedStore."""
    return _PointerForCleaning(terms)


@dataclass(frozen=True, slots=True)
class _PointerFound:
    """Pointer that was read, and its manifests by key."""

    pointer: StepPointer
    version: ObjectVersion
    modified: float
    sets: NamedSets = ()


def is_finished(found: _PointerFound, keys: StepKeys) -> bool:
    """Return whether the holder of a pointer has itself published the result that is current."""
    pointer = found.pointer
    if pointer.current is None or dict(found.sets)[pointer.current.manifest].result is None:
        return False
    parts = keys.parse(pointer.current.manifest)
    return parts is not None and (parts.epoch, parts.token) == (pointer.epoch, pointer.token)


def is_nameable(epoch: int, pointer: StepPointer) -> bool:
    """Return whether an attempt that may run can still name a key of an epoch that isn't named."""
    return epoch >= pointer.epoch


def cleaned_pointer(
    found: _PointerFound, terms: OutsideTerms, garbage: tuple[str, ...], *, takes_over: bool
) -> StepPointer:
    """Return the content that lists garbage; with ``takes_over``, that of a claim of the same order."""
    pointer = found.pointer
    body = replace(pointer, write_id=f"{terms.token}-0", seq=pointer.seq + 1, garbage=garbage)
    return replace(body, epoch=pointer.epoch + 1, token=terms.token) if takes_over else body


@dataclass(frozen=True, slots=True)
class _PointerForCleaning:
    terms: OutsideTerms
    incomplete: ObjectVersion | None = None
    """Version of a pointer whose manifest was absent when it was read."""

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return OutsideCleaned()
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, self.terms.keys.pointer, self.incomplete)
        if isinstance(pointer, DamagedStore):
            return pointer
        return _next_set(self.terms, _PointerFound(pointer, answer.version, answer.modified))


def _next_set(terms: OutsideTerms, found: _PointerFound) -> Decision:
    known = dict(found.sets)
    for slot in found.pointer.slots:
        if slot.manifest not in known:
            return _SetForCleaning(terms, found, slot)
    return _ClockWrite(terms, found)


@dataclass(frozen=True, slots=True)
class _SetForCleaning:
    terms: OutsideTerms
    found: _PointerFound
    slot: FingerprintSlot

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.slot.manifest)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _PointerForCleaning(self.terms, self.found.version)
        if not isinstance(answer, FoundRecord):
            return self
        published = set_in(answer, self.slot)
        if isinstance(published, DamagedStore):
            return published
        sets = (*self.found.sets, (self.slot.manifest, published))
        return _next_set(self.terms, replace(self.found, sets=sets))


@dataclass(frozen=True, slots=True)
class _ClockWrite:
    terms: OutsideTerms
    found: _PointerFound

    @property
    def request(self) -> FenceRequest:
        return CreateRecord(self.terms.clock, self.terms.token.encode())

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:  # noqa: ARG002 - the listing shows its effect
        return _OutsideListing(self.terms, self.found)


@dataclass(frozen=True, slots=True)
class _OutsideListing:
    terms: OutsideTerms
    found: _PointerFound

    @property
    def request(self) -> FenceRequest:
        return ListKeys(self.terms.keys.prefix)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if not isinstance(answer, ListedKeys):
            return self
        if not answer.complete:
            return _OutsideDeletion(self.terms, self.found, (), (), 0, incomplete=True)
        times = {entry.key: entry.modified for entry in answer.entries}
        return _listed(self.terms, self.found, frozenset(times), times.get(self.terms.clock))


def _listed(terms: OutsideTerms, found: _PointerFound, existing: frozenset[str], now: float | None) -> _OutsideDeletion:
    """Return the deletion after a complete listing.

    Args:
        terms: of the cleaning.
        found: what was read before the listing.
        existing: keys of the listing.
        now: time of the clock's object; None if it isn't there, when nothing is old enough.
    """
    pointer = found.pointer
    is_idle = now is not None and now - found.modified >= terms.seconds
    named = named_keys(pointer, dict(found.sets))
    garbage = tuple(key for key in pointer.garbage if key in existing and key not in named)
    unnamed = {
        key: parts.epoch
        for key in existing - named - set(pointer.garbage)
        if (parts := terms.keys.parse(key)) is not None and parts.epoch <= pointer.epoch
    }
    nameable = {key for key, epoch in unnamed.items() if is_nameable(epoch, pointer)}
    takes_over = is_idle and bool(nameable) and is_finished(found, terms.keys)
    new = tuple(sorted(unnamed if takes_over else unnamed.keys() - nameable))
    return _OutsideDeletion(
        terms, found, garbage, new, len(unnamed) - len(new), due=garbage if is_idle else (), takes_over=takes_over
    )


@dataclass(frozen=True, slots=True)
class _OutsideDeletion:
    """Deletion of garbage that is old enough, and of the clock's object.

    Attributes:
        garbage: that the pointer lists, and that exists.
        new: garbage that is to be listed.
        left: number of objects that aren't touched.
        due: garbage that is deleted.
        takes_over: whether the list is written as a claim.
        incomplete: whether the listing was.
    """

    terms: OutsideTerms
    found: _PointerFound
    garbage: tuple[str, ...]
    new: tuple[str, ...]
    left: int
    due: tuple[str, ...] = ()
    takes_over: bool = False
    incomplete: bool = False

    @property
    def request(self) -> FenceRequest:
        return DeleteKeys((*self.due, self.terms.clock))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        gone = self.due if answer is FenceReply.DELETED else ()
        rest = tuple(key for key in self.garbage if key not in gone)
        listed = tuple(sorted((*rest, *self.new)[:MOST_GARBAGE]))
        count = len(listed) - len(rest)
        outcome = OutsideCleaned(
            deleted=len(gone),
            listed=count,
            waiting=len(rest),
            left=self.left + len(self.new) - count,
            incomplete=self.incomplete,
            forbidden=answer is FenceReply.FORBIDDEN,
        )
        if count <= 0:
            return outcome
        body = cleaned_pointer(self.found, self.terms, listed, takes_over=self.takes_over)
        return _OutsideWrite(self.terms, body, self.found.version, outcome)


@dataclass(frozen=True, slots=True)
class _OutsideWrite:
    terms: OutsideTerms
    body: StepPointer
    version: ObjectVersion
    outcome: OutsideCleaned

    @property
    def request(self) -> FenceRequest:
        return UpdateRecord(self.terms.keys.pointer, self.body, self.version)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        return self.outcome if isinstance(answer, WrittenRecord) else _OutsideCheck(self)


@dataclass(frozen=True, slots=True)
class _OutsideCheck:
    """Read after a refused or unanswered write; whatever became of it, nothing depends on it."""

    write: _OutsideWrite

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.write.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if isinstance(answer, FoundRecord) and isinstance(answer.content, StepPointer):
            if answer.content.write_id == self.write.body.write_id:
                return self.write.outcome
        elif answer is not FenceReply.NOT_FOUND and not isinstance(answer, FoundRecord):
            return self
        outcome = self.write.outcome
        return replace(outcome, listed=0, left=outcome.left + outcome.listed, busy=True)
