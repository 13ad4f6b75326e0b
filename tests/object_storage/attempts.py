"""Attempts of a step that publish to a real store, without a task."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from maskrcnn_trainer.object_store.fence.claiming import ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import FenceOutcome, run_decision
from maskrcnn_trainer.object_store.fence.explaining import fence_error
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, StepHolder, publish
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.ownership import OwnedPrefix, OwnershipTerms, own_prefix
from maskrcnn_trainer.object_store.fence.records import AttemptOrder, OwnerIdentity, PublishedFile, PublishedSet
from maskrcnn_trainer.object_store.fence.uploading import UploadedSet, UploadNames, upload_set
from maskrcnn_trainer.object_store.fence_store import FenceStore

Outcome = TypeVar("Outcome", bound=FenceOutcome)


@dataclass
class StoreAttempt:
    """Attempt that has claimed a step.

    Attributes:
        store: of the experiments.
        directory: for the files that are uploaded.
        holder: of the step.
        names: of the keys.
    """

    store: FenceStore
    directory: Path
    holder: StepHolder
    names: UploadNames

    def publish(self, contents: dict[str, bytes], *, fingerprint: str = "f1", result: str | None = None) -> None:
        """Publish files.

        Raises:
            TaskError: as the task would end.
        """
        for path, content in contents.items():
            file = self.directory / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        files = tuple(
            PublishedFile(path, "", len(content), hashlib.sha256(content).hexdigest())
            for path, content in contents.items()
        )
        send = self.store.sender(sources=self.directory)
        uploaded = run_decision(upload_set(self.names, PublishedSet(fingerprint, files, result=result), contents), send)
        assert isinstance(uploaded, UploadedSet)
        self.names = uploaded.names
        self.holder = _right(
            run_decision(publish(self.holder, uploaded.slot, uploaded.published), send), self.store, HeldOutcome
        ).holder


def owned(store: FenceStore, experiment: str = "exp", owner: str = "me") -> int:
    """Own an experiment, and return its epoch.

    Raises:
        TaskError: it is another's.
    """
    terms = OwnershipTerms(experiment, OwnerIdentity(owner, "team", experiment), f"{owner}0", store="tried")
    return _right(run_decision(own_prefix(terms), store.sender()), store, OwnedPrefix).record.epoch


def claimed(
    store: FenceStore,
    directory: Path,
    step: str = "train",
    *,
    number: int = 1,
    epoch: int = 1,
    experiment: str = "exp",
    fingerprint: str = "f1",
) -> StoreAttempt:
    """Claim a step.

    Raises:
        TaskError: as the task would end.
    """
    keys = StepKeys(experiment, step)
    token = f"t{epoch}{number}"
    terms = ClaimTerms(keys, AttemptOrder(epoch, "2026-01-31T12:00:00Z", "uid-1", number), fingerprint, token)
    holder = _right(run_decision(claim_step(terms), store.sender()), store, ClaimedStep).holder
    return StoreAttempt(store, directory, holder, UploadNames(keys, holder.pointer.epoch, token))


def _right(outcome: FenceOutcome, store: FenceStore, kind: type[Outcome]) -> Outcome:
    error = fence_error(outcome, store.url)
    if error is not None:
        raise error
    assert isinstance(outcome, kind), outcome
    return outcome
