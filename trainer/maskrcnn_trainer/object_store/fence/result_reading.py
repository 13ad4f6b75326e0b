"""Read of what a step has published, while attempts publish and delete."""

from __future__ import annotations

from dataclasses import dataclass

from maskrcnn_trainer.object_store.fence.exchange_types import (
    DamagedStore,
    Decision,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    FoundRecord,
    GetRecord,
)
from maskrcnn_trainer.object_store.fence.found_records import pointer_in, set_in
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, ObjectVersion, PublishedSet, StepPointer


@dataclass(frozen=True, slots=True)
class ReadTerms:
    """Terms of a read.

    Attributes:
        keys: of the step.
        fingerprint: whose results are read; None: those of the current slot.
        paths: files that are loaded; None: all of the manifest.
    """

    keys: StepKeys
    fingerprint: str | None = None
    paths: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ReadResults(FenceOutcome):
    """All files of the terms were read, and are of one manifest."""

    published: PublishedSet


@dataclass(frozen=True, slots=True)
class NotPublished(FenceOutcome):
    """The pointer doesn't exist, or names nothing of the fingerprint."""

    key: str


@dataclass(frozen=True, slots=True)
class FindTerms:
    """Terms of a search for what a step has published.

    Attributes:
        keys: of the step.
        fingerprints: the first of them that has a slot is taken; empty: the current slot.
        incomplete: version of a pointer that named an object which was absent.
    """

    keys: StepKeys
    fingerprints: tuple[str, ...] = ()
    incomplete: ObjectVersion | None = None


@dataclass(frozen=True, slots=True)
class FoundResults(FenceOutcome):
    """Set that a pointer of this version names; no file of it was read."""

    published: PublishedSet
    version: ObjectVersion


@dataclass(frozen=True, slots=True)
class NoPointer(FenceOutcome):
    """The step has no pointer: objects below it, if any, aren't results."""

    key: str


def find_results(terms: FindTerms) -> Decision:
    """Return the decision that reads pointer and manifest: FoundResults, NoPointer, NotPublished, DamagedStore."""
    return _PointerForFind(terms, terms.incomplete)


def read_results(terms: ReadTerms) -> Decision:
    """Return the decision of a read: ReadResults, NotPublished, DamagedStore."""
    return _PointerForRead(terms)


def slot_for(pointer: StepPointer, fingerprint: str | None) -> FingerprintSlot | None:
    """Return the slot that a reader takes: that of its fingerprint, else the current one."""
    return pointer.current if fingerprint is None else pointer.slot_of(fingerprint)


def slot_for_any(pointer: StepPointer, fingerprints: tuple[str, ...]) -> FingerprintSlot | None:
    """Return the slot of the first of some fingerprints that has one; the current one without fingerprints."""
    if not fingerprints:
        return pointer.current
    return next((slot for name in fingerprints if (slot := pointer.slot_of(name)) is not None), None)


@dataclass(frozen=True, slots=True)
class _PointerForFind:
    terms: FindTerms
    incomplete: ObjectVersion | None

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        key = self.terms.keys.pointer
        if answer is FenceReply.NOT_FOUND:
            return NoPointer(key)
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, key, self.incomplete)
        if isinstance(pointer, DamagedStore):
            return pointer
        slot = slot_for_any(pointer, self.terms.fingerprints)
        if slot is None:
            return NotPublished(key)
        return _ManifestForFind(self.terms, answer.version, slot)


@dataclass(frozen=True, slots=True)
class _ManifestForFind:
    terms: FindTerms
    version: ObjectVersion
    slot: FingerprintSlot

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.slot.manifest)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _PointerForFind(self.terms, self.version)
        if not isinstance(answer, FoundRecord):
            return self
        published = set_in(answer, self.slot)
        if isinstance(published, DamagedStore):
            return published
        return FoundResults(published, self.version)


@dataclass(frozen=True, slots=True)
class _PointerForRead:
    terms: ReadTerms
    incomplete: ObjectVersion | None = None
    """Version of a pointer that named an object which was absent."""
    loaded: frozenset[str] = frozenset()

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.terms.keys.pointer)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        key = self.terms.keys.pointer
        if answer is FenceReply.NOT_FOUND:
            return NotPublished(key)
        if not isinstance(answer, FoundRecord):
            return self
        pointer = pointer_in(answer, key, self.incomplete)
        if isinstance(pointer, DamagedStore):
            return pointer
        slot = slot_for(pointer, self.terms.fingerprint)
        if slot is None:
            return NotPublished(key)
        return _ManifestForRead(self.terms, answer.version, slot, self.loaded)


@dataclass(frozen=True, slots=True)
class _ManifestForRead:
    terms: ReadTerms
    version: ObjectVersion
    slot: FingerprintSlot
    loaded: frozenset[str]

    @property
    def request(self) -> FenceRequest:
        return GetRecord(self.slot.manifest)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return _PointerForRead(self.terms, self.version, self.loaded)
        if not isinstance(answer, FoundRecord):
            return self
        published = set_in(answer, self.slot)
        if isinstance(published, DamagedStore):
            return published
        return _load(_FilesForRead(self.terms, self.version, published, self.loaded))


def _load(read: _FilesForRead) -> Decision | FenceOutcome:
    return read if read.request.files else ReadResults(read.published)


@dataclass(frozen=True, slots=True)
class _FilesForRead:
    terms: ReadTerms
    version: ObjectVersion
    published: PublishedSet
    loaded: frozenset[str]

    @property
    def request(self) -> FetchFiles:
        paths = self.terms.paths
        return FetchFiles(
            tuple(
                file
                for file in self.published.files
                if file.key not in self.loaded and (paths is None or file.path in paths)
            )
        )

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if not isinstance(answer, FetchedKeys):
            return self
        loaded = self.loaded | answer.keys
        if all(file.key in loaded for file in self.request.files):
            return ReadResults(self.published)
        return _PointerForRead(self.terms, self.version, loaded)
