"""Steps of the tests of single decisions: claims and publishes against a store in memory."""

from __future__ import annotations

from dataclasses import dataclass

from tests.unit.object_store.fence.memory_store import KEYS, MemoryStore

from maskrcnn_trainer.object_store.fence.claiming import ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import FenceOutcome, run_decision
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, StepHolder, publish
from maskrcnn_trainer.object_store.fence.records import AttemptOrder, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set

SHA = "0" * 64
A = "aa"
"""Token of a process."""


def order(attempt: int = 1, owner_epoch: int = 1) -> AttemptOrder:
    """Return the order of an attempt."""
    return AttemptOrder(owner_epoch, "2026-01-31T12:00:00Z", "uid-1", attempt)


def claim(store: MemoryStore, token: str = A, attempt: int = 1, fingerprint: str = "f1") -> FenceOutcome:
    """Return the outcome of a claim."""
    return run_decision(claim_step(ClaimTerms(KEYS, order(attempt), fingerprint, token)), store.send)


def held(store: MemoryStore, token: str = A, attempt: int = 1, fingerprint: str = "f1") -> StepHolder:
    """Return the holder after a claim."""
    outcome = claim(store, token, attempt, fingerprint)
    assert isinstance(outcome, ClaimedStep)
    return outcome.holder


@dataclass
class Publisher:
    """Process that publishes sets of files."""

    store: MemoryStore
    holder: StepHolder
    names: UploadNames

    def publish(
        self,
        *paths: str,
        fingerprint: str = "f1",
        result: str | None = None,
        logs: tuple[PublishedFile, ...] = (),
    ) -> StepHolder:
        """Publish files, and logs that another node has uploaded, and return the holder after it."""
        files = (*(PublishedFile(path, "", 1, SHA) for path in paths), *logs)
        published = PublishedSet(fingerprint, files, result=result)
        uploaded = run_decision(upload_set(self.names, published, paths), self.store.send)
        assert isinstance(uploaded, UploadedSet)
        self.names = uploaded.names
        outcome = run_decision(publish(self.holder, uploaded.slot, uploaded.published), self.store.send)
        assert isinstance(outcome, HeldOutcome)
        self.holder = outcome.holder
        return self.holder


def publisher(store: MemoryStore, token: str = A, attempt: int = 1, fingerprint: str = "f1") -> Publisher:
    """Return a process that has claimed the step."""
    holder = held(store, token, attempt, fingerprint)
    return Publisher(store, holder, UploadNames(KEYS, holder.pointer.epoch, token))
