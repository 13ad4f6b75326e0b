"""Store in memory of several experiments, whose files have contents and are written as the real store writes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.unit.object_store.fence.memory_store import MemoryStore

from maskrcnn_trainer.artifacts.reading import SendRequest
from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.object_store.fence.claiming import AlreadyDone, ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import (
    FenceAnswer,
    FenceReply,
    FenceRequest,
    FetchedKeys,
    FetchFiles,
    FoundRecord,
    PutFiles,
    UploadedKeys,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, StepHolder, publish
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.ownership import OwnedPrefix, OwnershipTerms, own_prefix
from maskrcnn_trainer.object_store.fence.records import AttemptOrder, OwnerIdentity, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.untrusted import parse_record
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set
from maskrcnn_trainer.object_store.fence_store import StoreLevel


@dataclass
class Bucket(MemoryStore):
    """Store with the sender of one call.

    Attributes:
        into: directory to which FetchFiles writes.
        contents: of the files that are uploaded, by path.
        fetched: keys of the files that were loaded, in order.
        unlistable: prefixes at which an object has a key that can't be listed.
        most_loads: number of loads after which the store fails; None: it never does.
    """

    into: Path | None = None
    contents: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    unlistable: set[str] = field(default_factory=set)
    most_loads: int | None = None

    def sender(self) -> SendRequest:
        """Return the function that carries out requests."""
        return self.send

    def level(self, prefix: str) -> StoreLevel:
        """Return the folders and objects directly below a prefix."""
        start = f"{prefix}/" if prefix else ""
        below = [key[len(start) :].partition("/") for key in self.objects if key.startswith(start)]
        if prefix in self.unlistable:
            return StoreLevel(complete=False)
        return StoreLevel(
            tuple(sorted({name for name, slash, _ in below if slash})),
            frozenset(name for name, slash, _ in below if not slash),
        )

    def send(self, request: FenceRequest) -> FenceAnswer:
        """Answer a request."""
        if isinstance(request, PutFiles):
            self.requests.append(request)
            for file in request.files:
                self.put(file.key, self.contents[file.path])
            return UploadedKeys(frozenset(file.key for file in request.files))
        if isinstance(request, FetchFiles) and self.into is not None:
            self.requests.append(request)
            return self._fetch(request, self.into)
        return super().send(request)

    def _fetch(self, request: FetchFiles, into: Path) -> FenceAnswer:
        found = set()
        for file in request.files:
            if file.key not in self.objects:
                continue
            if self.most_loads is not None and len(self.fetched) >= self.most_loads:
                raise TryAgain("the store is unavailable")
            self.fetched.append(file.key)
            content = self.objects[file.key][0]
            assert hashlib.sha256(content).hexdigest() == file.sha256
            (into / file.path).write_bytes(content)
            found.add(file.key)
        return FetchedKeys(frozenset(found))

    def _get(self, key: str) -> FenceAnswer:
        if key not in self.objects:
            return FenceReply.NOT_FOUND
        experiment, step = [*key.split("/"), "any"][:2]
        keys = StepKeys(experiment, step if key.count("/") > 1 else "any")
        content, _, at = self.objects[key]
        return FoundRecord(parse_record(content, key, keys), self.version(key), at)


@dataclass
class Through:
    """Bucket whose requests pass through a function of the test."""

    bucket: Bucket
    send: SendRequest

    def sender(self) -> SendRequest:
        """Return the function of the test."""
        return self.send

    def level(self, prefix: str) -> StoreLevel:
        """Return the folders and objects directly below a prefix."""
        return self.bucket.level(prefix)


@dataclass
class RunningAttempt:
    """Attempt that has claimed a step of a bucket."""

    bucket: Bucket
    holder: StepHolder
    names: UploadNames

    def publish(self, contents: dict[str, bytes], *, fingerprint: str = "f1", complete: bool = False) -> PublishedSet:
        """Publish files, the first of them as the result if the step is complete."""
        self.bucket.contents = contents
        files = tuple(
            PublishedFile(path, "", len(content), hashlib.sha256(content).hexdigest())
            for path, content in contents.items()
        )
        published = PublishedSet(fingerprint, files, result=next(iter(contents)) if complete else None)
        uploaded = run_decision(upload_set(self.names, published, contents), self.bucket.send)
        assert isinstance(uploaded, UploadedSet)
        self.names = uploaded.names
        outcome = run_decision(publish(self.holder, uploaded.slot, uploaded.published), self.bucket.send)
        if not isinstance(outcome, HeldOutcome):
            raise AssertionError(outcome)
        self.holder = outcome.holder
        return uploaded.published


def own(bucket: Bucket, experiment: str = "exp", owner: str = "me") -> int:
    """Make an experiment one's own, and return its epoch."""
    terms = OwnershipTerms(experiment, OwnerIdentity(owner, "team", experiment), f"{owner}0", store="tried")
    outcome = run_decision(own_prefix(terms), bucket.send)
    assert isinstance(outcome, OwnedPrefix)
    return outcome.record.epoch


def attempt(
    bucket: Bucket,
    step: str = "train",
    *,
    experiment: str = "exp",
    writer: str = "aa",
    number: int = 1,
    owner_epoch: int = 1,
    fingerprint: str = "f1",
) -> RunningAttempt:
    """Return an attempt that has claimed a step."""
    keys = StepKeys(experiment, step)
    order = AttemptOrder(owner_epoch, "2026-01-31T12:00:00Z", "uid-1", number)
    outcome = run_decision(claim_step(ClaimTerms(keys, order, fingerprint, writer)), bucket.send)
    holder = outcome.holder if isinstance(outcome, ClaimedStep | AlreadyDone) else None
    assert holder is not None, outcome
    return RunningAttempt(bucket, holder, UploadNames(keys, holder.pointer.epoch, writer))


def with_path(published: PublishedSet, path: str) -> PublishedSet:
    """Return a set whose first file has another path."""
    return replace(published, files=(replace(published.files[0], path=path), *published.files[1:]))
