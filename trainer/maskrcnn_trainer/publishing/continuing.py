"""Continuation of a working copy that an earlier attempt on this machine has left; a decision without I/O."""

from __future__ import annotations

from enum import Enum, auto

from maskrcnn_trainer.object_store.fence.records import PublishedSet
from maskrcnn_trainer.publishing.published_files import newest_step
from maskrcnn_trainer.publishing.step_claiming import StepIdentity
from maskrcnn_trainer.results.run_file import RunRecord, StoreClaim


class CopyUse(Enum):
    """Use of a working copy: all of it, or none."""

    REPLACED = auto()
    """The published set replaces it."""
    CHECKPOINT = auto()
    """The task resumes from its newest checkpoint, which wasn't published."""
    RESULT = auto()
    """It has the result of the task, which wasn't published."""


def use_of_left_copy(
    run: RunRecord | None,
    identity: StepIdentity,
    claim: StoreClaim,
    *,
    has_result: bool,
    checkpoint: int | None,
    published: PublishedSet | None,
) -> CopyUse:
    """Return how the next attempt uses a working copy.

    Args:
        run: content of its run.json; None: it has none.
        identity: of the attempt.
        claim: by which the attempt holds the step.
        has_result: whether it has the complete result of the fingerprint.
        checkpoint: step of its newest checkpoint; None: it has none.
        published: newest published set of the fingerprint, which isn't a result; None: none exists.
    """
    if run is None or not _is_own(run, identity) or not _is_of_same_pointer(run.store_claim, claim):
        return CopyUse.REPLACED
    if has_result:
        return CopyUse.RESULT
    newest = newest_step(published.checkpoints) if published is not None else None
    if checkpoint is not None and (newest is None or checkpoint > newest):
        return CopyUse.CHECKPOINT
    return CopyUse.REPLACED


def _is_own(run: RunRecord, identity: StepIdentity) -> bool:
    """Return whether this attempt, or an earlier one of the same experiment and fingerprint, wrote the copy."""
    is_same = run.experiment_uid == identity.uid and identity.fingerprint in run.fingerprints
    return is_same and run.attempt <= identity.attempt


def _is_of_same_pointer(earlier: StoreClaim | None, now: StoreClaim) -> bool:
    """Return whether the results were neither deleted nor taken over since the copy was restored from them.

    Both give the owner a new epoch. A pointer that was deleted begins with epoch 1 again.
    """
    return earlier is not None and earlier.owner_epoch == now.owner_epoch and earlier.epoch < now.epoch
