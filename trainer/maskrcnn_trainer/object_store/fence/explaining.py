"""Errors of the outcomes that end a task: exit code, reason, and one sentence."""

from __future__ import annotations

import shlex

from maskrcnn_trainer.errors import InvalidInput, TaskError, TryAgain
from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    DamagedStore,
    FenceOutcome,
    PointerGone,
    SupersededOutcome,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.ownership import OwnershipLost
from maskrcnn_trainer.object_store.fence.probing import ProbeInconclusive, UnableStore
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity
from maskrcnn_trainer.object_store.fence.result_reading import NotPublished
from maskrcnn_trainer.shared.owner_state import OwnerState
from maskrcnn_trainer.shared.variables import CREATED_VARIABLE, OWNER_ID_VARIABLE, TAKE_OVER_VARIABLE

SUPERSEDED = "Superseded"
"""Reason of an attempt whose results a later one or another owner has taken."""
RESULTS_DELETED = "ResultsDeleted"
"""Reason of an attempt whose results were deleted: its step doesn't start again by itself."""


def fence_error(
    outcome: FenceOutcome, url: str, *, keys: StepKeys | None = None, own: OwnerState | None = None, created: str = ""
) -> TaskError | None:
    """Return the error of an outcome; None if it isn't a failure.

    Args:
        outcome: of a decision.
        url: of all experiments.
        keys: of the step that the decision is about, which the message of a lost step names; None: it isn't known.
        own: owner of the attempt and its epoch, by which another state of the same owner is recognized; None: no
            attempt is under way.
        created: time at which the experiment of the attempt was created; empty if no attempt is under way.
    """
    match outcome:
        case SupersededOutcome():
            return _superseded(outcome, url, keys, own, created)
        case OwnershipLost():
            experiment = "The experiment" if keys is None else f"The experiment {keys.experiment}"
            if outcome.record is None or outcome.record.owner is None:
                return _deleted(f"{experiment} below {url} was")
            return TryAgain(f"{experiment} below {url} was taken over by another owner", reason=SUPERSEDED)
        case AnothersOwner(record, take_over_from, by) if record.owner is not None:
            return _others(record.owner, by, take_over_from, url)
        case UnableStore(accepted):
            return conditional_writes_missing(url, f"the store accepted {accepted}")
    return _of_store(outcome, url)


def conditional_writes_missing(url: str, problem: str) -> InvalidInput:
    """Return the error of a store that can't hold results.

    Args:
        url: of all experiments.
        problem: what it has accepted or refused.
    """
    return InvalidInput(
        f"{url} can't hold results: {problem}, so two attempts could mix; use a store that has conditional writes",
        reason="ConditionalWritesMissing",
    )


def remedy_of_damage(key: str, url: str) -> str:
    """Return what makes an experiment or a step usable again whose owner, pointer, or manifest is damaged.

    A deletion can't: it leaves steps that can't be read, and does nothing without the owner.

    Args:
        key: of the record.
        url: of all experiments.
    """
    experiment, _, rest = key.partition("/")
    place = f"{experiment}/{rest.partition('/')[0]}" if "/" in rest else experiment
    return f"remove all objects below {url}/{place}/ with a tool of the store while no attempt runs, then run it again"


def remedy_of_results(key: str) -> str:
    """Return what makes a step run again whose published files are damaged.

    Args:
        key: of one of its objects.
    """
    return (
        "change the step's revision, or delete the experiment (maskrcnn-operator artifacts URL delete "
        f"{key.partition('/')[0]}), and run it again"
    )


def _others(owner: OwnerIdentity, by: OwnerIdentity | None, take_over_from: str, url: str) -> InvalidInput:
    place = f" in namespace {owner.namespace}" if owner.namespace else ""
    same = ""
    if by is not None and by.owner_id == owner.owner_id:
        place = f"{place or ' without a namespace'}; this attempt has the same id and {_namespace(by)}"
    elif not place:
        # an id of a namespace isn't continued by the id alone
        same = f"; if that is an earlier run of yours, {_by_id(owner.owner_id)} continues it"
    return InvalidInput(
        f"{url} holds the experiment {owner.name} of owner {owner.owner_id}{place}; to take it over for good, "
        f"give {_by_taking_over(take_over_from)}{same}",
        reason="AnothersOwner",
    )


def _namespace(owner: OwnerIdentity) -> str:
    return f"the namespace {owner.namespace}" if owner.namespace else "no namespace"


def _superseded(
    outcome: SupersededOutcome, url: str, keys: StepKeys | None, own: OwnerState | None, created: str
) -> TaskError:
    by = outcome.by
    what = "results" if keys is None else f"results of {keys.prefix.rstrip('/')}"
    if not by.uid:
        return _deleted(f"The {what} below {url} were")
    remedy = ""
    if outcome.attempt is not None:
        who = f"attempt {outcome.attempt} of this experiment"
        if own is not None and own.epoch == by.owner_epoch and created not in ("", by.created):
            who += f", whose time of creation is {by.created} and not {created}"
            remedy = (
                f"; give all attempts one {CREATED_VARIABLE}, or take the results back for good: give "
                f"{_by_taking_over(str(own))}"
            )
    else:
        who = f"the experiment of uid {by.uid}, created {by.created}"
        if own is not None and own.epoch == by.owner_epoch:
            remedy = (
                "; if that is another state directory of yours, run with it, or take the results back for good: give "
                f"{_by_taking_over(str(own))}"
            )
    return TryAgain(f"The {what} below {url} were taken over by {who}{remedy}", reason=SUPERSEDED)


def _deleted(what: str) -> TaskError:
    return TryAgain(f"{what} deleted; run the experiment again to start from the beginning", reason=RESULTS_DELETED)


def _by_taking_over(state: str) -> str:
    # any writer with access to the store can have chosen the id
    value = shlex.quote(state)
    return (
        f"--take-over-from {value} to maskrcnn-operator run, {TAKE_OVER_VARIABLE}={value} to maskrcnn launch, or on a "
        f"cluster takeOverFrom: {value} to spec.workspace.objectStorage"
    )


def _by_id(owner_id: str) -> str:
    value = shlex.quote(owner_id)
    return f"--owner-id {value} or {OWNER_ID_VARIABLE}={value}"


def _of_store(outcome: FenceOutcome, url: str) -> TaskError | None:
    match outcome:
        case PointerGone(key):
            return TryAgain(
                f"{url}/{key} was deleted by another user; run the experiment again to start from the beginning",
                reason="PointerDeleted",
            )
        case DamagedStore(key, problem):
            return InvalidInput(f"{url}/{key} {problem}; {remedy_of_damage(key, url)}", reason="StoreRefused")
        case ProbeInconclusive():
            return TryAgain(f"{url} didn't answer a test of its conditional writes", reason="StoreUnavailable")
        case NotPublished(key):
            return TryAgain(f"{url}/{key} names no results of the requested fingerprint", reason="NotPublished")
    return None
