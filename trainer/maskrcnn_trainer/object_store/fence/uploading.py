"""Uploads of a publish: files first, then the manifest that names them, all under names never used before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from maskrcnn_trainer.object_store.fence.exchange_types import (
    Decision,
    FenceAnswer,
    FenceOutcome,
    FenceRequest,
    PutFiles,
    PutRecord,
    UploadedKeys,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, PublishedFile, PublishedSet


@dataclass(frozen=True, slots=True)
class UploadNames:
    """Source of names of one process and claim. Each upload starts from the names that the one before has returned."""

    keys: StepKeys
    epoch: int
    token: str
    number: int = 0

    def take(self, path: str) -> tuple[str, UploadNames]:
        """Return a key, and the names after it."""
        key = self.keys.written_once(self.epoch, self.token, self.number, path)
        return key, replace(self, number=self.number + 1)


@dataclass(frozen=True, slots=True)
class UploadedSet(FenceOutcome):
    """Files and manifest are uploaded; they are in flight until their publish is in effect or given up."""

    slot: FingerprintSlot
    published: PublishedSet
    names: UploadNames


def upload_set(names: UploadNames, published: PublishedSet, changed: Iterable[str]) -> Decision | FenceOutcome:
    """Return the decision that uploads files and their manifest.

    Args:
        names: of this process.
        published: the set; keys of the changed files are ignored, those of the others are from the set before.
        changed: paths of the files that are uploaded.
    """
    new = set(changed)
    kept = tuple(file for file in published.files if file.path not in new)
    return _next(names, published, kept, tuple(file for file in published.files if file.path in new))


def _next(
    names: UploadNames, published: PublishedSet, done: tuple[PublishedFile, ...], missing: tuple[PublishedFile, ...]
) -> Decision:
    if not missing:
        order = {file.path: place for place, file in enumerate(published.files)}
        complete = replace(published, files=tuple(sorted(done, key=lambda file: order[file.path])))
        key, names = names.take("manifest.json")
        return _ManifestUpload(names, complete, key)
    named = []
    for file in missing:
        key, names = names.take(file.path)
        named.append(replace(file, key=key))
    return _FilesUpload(names, published, done, tuple(named))


@dataclass(frozen=True, slots=True)
class _FilesUpload:
    names: UploadNames
    published: PublishedSet
    done: tuple[PublishedFile, ...]
    sending: tuple[PublishedFile, ...]

    @property
    def request(self) -> FenceRequest:
        return PutFiles(self.sending)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        sent = answer.keys if isinstance(answer, UploadedKeys) else frozenset()
        done = (*self.done, *(file for file in self.sending if file.key in sent))
        return _next(self.names, self.published, done, tuple(file for file in self.sending if file.key not in sent))


@dataclass(frozen=True, slots=True)
class _ManifestUpload:
    names: UploadNames
    published: PublishedSet
    key: str

    @property
    def request(self) -> FenceRequest:
        return PutRecord(self.key, self.published)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if isinstance(answer, WrittenRecord):
            return UploadedSet(FingerprintSlot(self.published.fingerprint, self.key), self.published, self.names)
        return _next(self.names, self.published, self.published.files, ())
