"""Rule 6: deletion of an experiment, which leaves tombstones so that no late request finds an empty place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskrcnn_trainer.object_store.fence.claiming import ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.exchange_types import (
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
    PointerGone,
    SupersededOutcome,
    UpdateRecord,
    WrittenRecord,
)
from maskrcnn_trainer.object_store.fence.holding import StepHolder
from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key, steps_in
from maskrcnn_trainer.object_store.fence.ownership import is_same_owner, of_another_owner
from maskrcnn_trainer.object_store.fence.records import AttemptOrder, OwnerIdentity, OwnerRecord


@dataclass(frozen=True, slots=True)
class NothingOwned(FenceOutcome):
    """``owner.json`` doesn't exist: nothing of this name was ever written here."""


@dataclass(frozen=True, slots=True)
class DisownedPrefix(FenceOutcome):
    """``owner.json`` is a tombstone of this epoch."""

    record: OwnerRecord


@dataclass(frozen=True, slots=True)
class DeletedStep(FenceOutcome):
    """Results of a step are deleted.

    Attributes:
        deleted: number of objects.
        failed: number of objects that are left because the store refused, or because a listing was incomplete.
        left_to: order of a later owner's attempt, to whom the step was left.
        problem: why the step was left: its pointer is damaged; empty if it wasn't left.
    """

    deleted: int = 0
    failed: int = 0
    left_to: AttemptOrder | None = None
    incomplete: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class DeletedExperiment(FenceOutcome):
    """The owner is a tombstone, and so is the pointer of each step that was found.

    Attributes:
        record: the tombstone.
        steps: names of the steps, and what became of each.
        incomplete: whether the experiment has keys that the library can't list, so that a step can be missing.
    """

    record: OwnerRecord
    steps: tuple[tuple[str, DeletedStep], ...]
    incomplete: bool = False


def delete_experiment(
    experiment: str, token: str, steps: tuple[str, ...] = (), *, owner: OwnerIdentity | None = None
) -> Decision:
    """Return the decision that deletes an experiment.

    Its outcomes are DeletedExperiment, NothingOwned, AnothersOwner, and DamagedStore (of its owner).

    A damaged step is left, and the others are deleted. :func:`leave_step` has the same for a step whose pointer the
    sender of the requests refuses to read.

    Args:
        experiment: name.
        token: of this process.
        steps: steps that are deleted even if a listing shows nothing of them.
        owner: whose results alone are deleted; None for those of any owner. Steps that another deletion has left are
            deleted in both cases.
    """
    return _Experiment(experiment, token, steps, disown_prefix(experiment, token, owner))


def leave_step(deletion: Decision | FenceOutcome, problem: str) -> Decision | FenceOutcome | None:
    """Return the deletion of an experiment without the step it has reached; None if it hasn't reached one."""
    if not isinstance(deletion, _Experiment) or not deletion.is_at_a_step:
        return None
    return deletion.follow(DeletedStep(problem=problem))


def disown_prefix(experiment: str, token: str, owner: OwnerIdentity | None = None) -> Decision:
    """Return the decision that puts a tombstone in place of an experiment's owner, or only in place of ``owner``."""
    return _OwnerForDelete(experiment, token, owner)


def delete_step(keys: StepKeys, owner_epoch: int, token: str) -> Decision | FenceOutcome:
    """Return the decision that deletes a step's results once the owner is a tombstone of an epoch."""
    terms = ClaimTerms(keys, deletion_order(owner_epoch), None, token)
    return _StepClaim(claim_step(terms))


def deletion_order(owner_epoch: int) -> AttemptOrder:
    """Return the order of a deletion: above all attempts of earlier owners, below all of later ones."""
    return AttemptOrder(owner_epoch, "", "", 0)


def tombstone(before: OwnerRecord, write_id: str) -> OwnerRecord:
    """Return the record that replaces an owner."""
    return OwnerRecord(write_id, None, before.epoch + 1, before.store)


def deletable(holder: StepHolder, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that were written under earlier claims."""
    parts = ((key, holder.keys.parse(key)) for key in keys)
    return tuple(key for key, part in parts if part is not None and part.epoch < holder.pointer.epoch)


@dataclass(frozen=True, slots=True)
class _OwnerForDelete:
    experiment: str
    token: str
    owner: OwnerIdentity | None
    writes: int = 0

    @property
    def request(self) -> FenceRequest:
        return GetRecord(owner_key(self.experiment))

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.NOT_FOUND:
            return NothingOwned()
        if not isinstance(answer, FoundRecord):
            return self
        if not isinstance(answer.content, OwnerRecord):
            return DamagedStore(owner_key(self.experiment), "isn't an owner")
        if answer.content.owner is None:
            return DisownedPrefix(answer.content)
        if self.owner is not None and not is_same_owner(answer.content.owner, self.owner):
            return of_another_owner(answer.content, answer.content.owner, self.owner)
        body = tombstone(answer.content, f"{self.token}-{self.writes}")
        return _OwnerTombstone(self, body, answer)


@dataclass(frozen=True, slots=True)
class _OwnerTombstone:
    read: _OwnerForDelete
    body: OwnerRecord
    base: FoundRecord

    @property
    def request(self) -> FenceRequest:
        return UpdateRecord(owner_key(self.read.experiment), self.body, self.base.version)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if isinstance(answer, WrittenRecord):
            return DisownedPrefix(self.body)
        return replace(self.read, writes=self.read.writes + 1)


@dataclass(frozen=True, slots=True)
class _StepClaim:
    claim: Decision

    @property
    def request(self) -> FenceRequest:
        return self.claim.request

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        step = self.claim.after(answer)
        if isinstance(step, SupersededOutcome):
            return DeletedStep(left_to=step.by)
        if isinstance(step, ClaimedStep):
            return _StepListing(step.holder)
        return step if isinstance(step, FenceOutcome) else _StepClaim(step)


@dataclass(frozen=True, slots=True)
class _StepListing:
    holder: StepHolder

    @property
    def request(self) -> FenceRequest:
        return ListKeys(self.holder.keys.prefix)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if not isinstance(answer, ListedKeys):
            return self
        if not answer.complete:
            return DeletedStep(incomplete=True)
        keys = deletable(self.holder, tuple(entry.key for entry in answer.entries))
        return _StepDeletion(self.holder, keys) if keys else DeletedStep()


@dataclass(frozen=True, slots=True)
class _StepDeletion:
    holder: StepHolder
    keys: tuple[str, ...]

    @property
    def request(self) -> FenceRequest:
        return DeleteKeys(self.keys)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if answer is FenceReply.DELETED:
            return DeletedStep(deleted=len(self.keys))
        if answer is FenceReply.FORBIDDEN:
            return DeletedStep(failed=len(self.keys))
        return _StepListing(self.holder)


@dataclass(frozen=True, slots=True)
class _Experiment:
    """Deletion of an experiment: the owner, a listing, and the steps one by one."""

    experiment: str
    token: str
    to_do: tuple[str, ...]
    decision: Decision
    record: OwnerRecord | None = None
    done: tuple[tuple[str, DeletedStep], ...] = ()
    incomplete: bool = False

    @property
    def request(self) -> FenceRequest:
        return self.decision.request

    @property
    def is_at_a_step(self) -> bool:
        """Return whether a step is being deleted, and neither the owner nor the listing is due."""
        return isinstance(self.decision, _StepClaim | _StepListing | _StepDeletion)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        return self.follow(self.decision.after(answer))

    def follow(self, step: Decision | FenceOutcome) -> Decision | FenceOutcome:
        """Return the state after a step of a part."""
        if not isinstance(step, FenceOutcome):
            return replace(self, decision=step)
        if isinstance(step, DisownedPrefix):
            return replace(self, record=step.record, decision=_ExperimentListing(self.experiment))
        if isinstance(step, _ListedSteps):
            to_do = tuple(dict.fromkeys((*self.to_do, *step.steps)))
            return _next_step(replace(self, to_do=to_do, incomplete=not step.complete))
        if isinstance(step, DeletedStep):
            done = (*self.done, (self.to_do[0], step))
            return _next_step(replace(self, to_do=self.to_do[1:], done=done))
        if self.is_at_a_step and isinstance(step, DamagedStore | PointerGone):
            problem = step.problem if isinstance(step, DamagedStore) else "was deleted meanwhile"
            return self.follow(DeletedStep(problem=f"{step.key} {problem}"))
        return step


def _next_step(state: _Experiment) -> Decision | FenceOutcome:
    """Return the deletion of the next step, or the outcome after the last one."""
    if state.record is None:
        raise ValueError("The steps are deleted after the owner")
    if not state.to_do:
        return DeletedExperiment(state.record, state.done, state.incomplete)
    keys = StepKeys(state.experiment, state.to_do[0])
    return state.follow(delete_step(keys, state.record.epoch, f"{state.token}{len(state.done)}"))


@dataclass(frozen=True, slots=True)
class _ListedSteps(FenceOutcome):
    steps: tuple[str, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class _ExperimentListing:
    experiment: str

    @property
    def request(self) -> FenceRequest:
        return ListKeys(f"{self.experiment}/")

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if not isinstance(answer, ListedKeys):
            return self
        return _ListedSteps(steps_in(self.experiment, tuple(entry.key for entry in answer.entries)), answer.complete)
