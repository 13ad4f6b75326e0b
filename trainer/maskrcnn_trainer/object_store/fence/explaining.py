"""Errors of the outcomes that end a task: exit code, reason, and one sentence."""

from __future__ import annotations

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    DamagedStore,
    FenceOutcome,
    PointerGone,
    SupersededOutcome,
)
from maskrcnn_trainer.object_store.fence.ownership import OwnershipLost
from maskrcnn_trainer.object_store.fence.probing import ProbeInconclusive, UnableStore
from maskrcnn_trainer.object_store.fence.result_reading import GivenSetGone, NotPublished

SUPERSEDED = "Superseded"
"""Reason of an attempt whose results a later one, another owner, or a deletion has taken."""


def fence_error(outcome: FenceOutcome, url: str) -> TaskError | None:
    """Return the error of an outcome below the URL of all experiments; None if it isn't a failure."""
    match outcome:
        case SupersededOutcome(by, attempt):
            who = f"attempt {attempt} of this experiment" if attempt is not None else f"the experiment of uid {by.uid}"
            if not by.uid:
                who = "a deletion"
            return TryAgain(f"The results below {url} were taken over by {who}", reason=SUPERSEDED)
        case OwnershipLost():
            return TryAgain(f"The experiment below {url} was deleted, or another owner took it over", reason=SUPERSEDED)
        case AnothersOwner(record, take_over_from) if record.owner is not None:
            owner = record.owner
            place = f" in namespace {owner.namespace}" if owner.namespace else ""
            return InvalidInput(
                f"{url} holds the experiment {owner.name} of owner {owner.owner_id}{place}; to take it over for good, "
                f"set takeOverFrom: {take_over_from}",
                reason="AnothersOwner",
            )
        case UnableStore(accepted):
            return InvalidInput(
                f"{url} can't hold results: the store accepted {accepted}, so two attempts could mix",
                reason="StoreRefused",
            )
    return _of_store(outcome, url)


def _of_store(outcome: FenceOutcome, url: str) -> TaskError | None:
    match outcome:
        case PointerGone(key):
            return TryAgain(f"{url}/{key} was deleted by another user", reason="PointerDeleted")
        case DamagedStore(key, problem):
            return InvalidInput(f"{url}/{key} {problem}", reason="StoreRefused")
        case ProbeInconclusive():
            return TryAgain(f"{url} didn't answer a test of its conditional writes", reason="StoreUnavailable")
        case GivenSetGone(key):
            return TryAgain(f"{url}/{key} was deleted: a later attempt has published", reason=SUPERSEDED)
        case NotPublished(key):
            return TryAgain(f"{url}/{key} names no results of the requested fingerprint", reason="NotPublished")
    return None
