"""Deletion of an experiment by tombstones, so that a running attempt ends, and no late request brings anything back."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

from maskrcnn_trainer.artifacts.names import ArtifactName, printable
from maskrcnn_trainer.artifacts.overview import Overview, shown_size
from maskrcnn_trainer.artifacts.reading import ResultsSource, SendRequest, steps_below
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    DamagedStore,
    Decision,
    DecisionRun,
    DeleteKeys,
    FenceOutcome,
    FenceReply,
    FoundRecord,
    GetRecord,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key
from maskrcnn_trainer.object_store.fence.ownership import is_same_owner
from maskrcnn_trainer.object_store.fence.records import OwnerIdentity, OwnerRecord, StepPointer
from maskrcnn_trainer.object_store.fence.tombstones import (
    DeletedExperiment,
    DeletedStep,
    delete_experiment,
    leave_step,
)
from maskrcnn_trainer.shared.identifiers import IDENTIFIER


@dataclass(frozen=True)
class DeletedResults:
    """Outcome of a deletion.

    Attributes:
        experiment: its name.
        steps: what became of each step.
        complete: whether all keys could be listed.
        purged: whether the tombstones are removed, too.
    """

    experiment: str
    steps: dict[str, DeletedStep] = field(default_factory=dict)
    complete: bool = True
    purged: bool = False

    @property
    def deleted(self) -> int:
        """Return the number of objects that were deleted."""
        return sum(one.deleted for one in self.steps.values())

    @property
    def failures(self) -> list[str]:
        """Return a sentence about each thing that is left of the experiment and shouldn't be."""
        found = []
        for step, one in self.steps.items():
            if one.problem:
                found.append(f"step {step} is damaged: {printable(one.problem)}")
            if one.failed:
                found.append(f"step {step}: the store refused to delete {one.failed:,} objects")
            if one.incomplete:
                found.append(f"step {step} has keys that can't be listed, so nothing of it was deleted")
        if not self.complete:
            found.append(f"{self.experiment} has keys that can't be listed, so that steps may be missing here")
        return found


def question(found: Overview, name: ArtifactName, url: str) -> str:
    """Return the question before a deletion: whose results these are, and how many.

    Raises:
        InvalidInput: the experiment has no results.
    """
    one = found.experiments.get(name.experiment)
    if one is None or (one.owner is None and one.owner_epoch == 0 and not one.problem):
        raise InvalidInput(f"NAME: {name} has no results below {url} yet", reason="NotPublished")
    sets = [each for step in one.steps.values() for each in (step.current, step.previous) if each is not None]
    whose = "" if one.owner is None else f" of owner {printable(one.owner.owner_id)}"
    where = "" if one.owner is None or not one.owner.namespace else f", namespace {printable(one.owner.namespace)}"
    return (
        f"{url}/{name}{whose}{where}: {len(one.steps):,} steps, {sum(each.files for each in sets):,} files, "
        f"{shown_size(sum(each.size for each in sets))}. Delete it, and end attempts that run? [y/N] "
    )


def refuse_other_owner(found: Overview, name: ArtifactName, owner: OwnerIdentity) -> None:
    """Check that the results belong to an owner, before a question; the deletion checks it again.

    Args:
        found: overview of the experiment.
        name: of the experiment.
        owner: that the results must have.

    Raises:
        InvalidInput: they have another one.
    """
    one = found.experiments.get(name.experiment)
    if one is not None and one.owner is not None and not is_same_owner(one.owner, owner):
        raise _refusal(name, one.owner, owner)


def _refusal(name: ArtifactName, found: OwnerIdentity, owner: OwnerIdentity) -> InvalidInput:
    by_url = (
        f"to delete them nevertheless, use `artifacts URL delete {name}`, without -n, --owner-id, --owner-namespace"
    )
    is_of_the_namespace = found.namespace == owner.namespace and IDENTIFIER.fullmatch(found.owner_id)
    same = f"if {found.owner_id} is yours, too, add --owner-id {found.owner_id}; " if is_of_the_namespace else ""
    return InvalidInput(
        f"NAME {name}: the results belong to {_shown(found)}, and not to {_shown(owner)}; {same}{by_url}",
        reason="AnothersOwner",
    )


def _shown(owner: OwnerIdentity) -> str:
    where = f"namespace {printable(owner.namespace)}" if owner.namespace else "a run without a cluster"
    return f"owner {printable(owner.owner_id)} of {where}"


def delete_results(
    store: ResultsSource, name: ArtifactName, *, owner: OwnerIdentity | None = None, purge: bool = False
) -> DeletedResults:
    """Delete the results of an experiment.

    Its owner becomes a tombstone first. So does the pointer of each step that is listed then; the objects of earlier
    attempts are deleted after it. A step of a later owner is left.

    Args:
        store: of the experiments.
        name: of the experiment.
        owner: whose results alone are deleted; None for those of any owner.
        purge: whether to remove the tombstones as well. Then a late request, or an attempt that still runs, can write
            the experiment again.

    Raises:
        InvalidInput: the experiment has no results, its owner is damaged or another one, or the store refuses.
        TryAgain: the store is unavailable; another call continues.
    """
    if name.step is not None:
        raise InvalidInput(
            f"NAME {name}: only whole experiments are deleted: give {name.experiment}; to run one step again, change "
            "its revision",
            reason="InvalidCommandLine",
        )
    send = store.sender()
    below = steps_below(store, name)
    named = tuple(keys.step for keys in below.steps)
    outcome = _run(delete_experiment(name.experiment, secrets.token_hex(16), named, owner=owner), send)
    if isinstance(outcome, AnothersOwner) and owner is not None and outcome.record.owner is not None:
        raise _refusal(name, outcome.record.owner, owner)
    if isinstance(outcome, DamagedStore):
        raise InvalidInput(f"{outcome.key} {outcome.problem}", reason="StoreRefused")
    if not isinstance(outcome, DeletedExperiment):
        raise InvalidInput(f"NAME: {name} has no results", reason="NotPublished")
    done = DeletedResults(name.experiment, dict(outcome.steps), below.complete and not outcome.incomplete)
    if purge and not done.failures:
        return replace(done, purged=_purged(send, name.experiment, done, outcome.record))
    return done


def _run(deletion: Decision, send: SendRequest) -> FenceOutcome:
    """Run a deletion to its end, without the steps whose records the store's reader refuses."""
    run = DecisionRun(deletion)
    while True:
        try:
            return run.finish(send)
        except InvalidInput as error:
            rest = leave_step(run.state, str(error))
            if rest is None:
                raise
            run.state = rest


def _purged(send: SendRequest, experiment: str, done: DeletedResults, record: OwnerRecord) -> bool:
    """Remove the tombstones, the owner's last; return whether all of them are gone."""
    if any(one.left_to is not None for one in done.steps.values()):
        return False
    pointers = tuple(StepKeys(experiment, step).pointer for step in done.steps)
    if not all(_is_tombstone(send, key) for key in pointers):
        return False
    if pointers and send(DeleteKeys(pointers)) is not FenceReply.DELETED:
        return False
    found = send(GetRecord(owner_key(experiment)))
    if not isinstance(found, FoundRecord) or found.content != record:
        return False
    return send(DeleteKeys((owner_key(experiment),))) is FenceReply.DELETED


def _is_tombstone(send: SendRequest, key: str) -> bool:
    found = send(GetRecord(key))
    return (
        isinstance(found, FoundRecord)
        and isinstance(found.content, StepPointer)
        and not found.content.order.uid
        and not found.content.slots
    )
