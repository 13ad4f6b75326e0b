"""Claim of a step in the store: owner of the experiment, probe of the store, claim, and confirmation of the owner."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.claiming import AlreadyDone, ClaimedStep, ClaimTerms, claim_step
from maskrcnn_trainer.object_store.fence.encoding import encode_record
from maskrcnn_trainer.object_store.fence.exchange_types import Decision, FenceOutcome
from maskrcnn_trainer.object_store.fence.following import FollowTerms
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.ownership import (
    OwnedPrefix,
    OwnershipTerms,
    ProbeNeeded,
    confirm_owner,
    own_prefix,
)
from maskrcnn_trainer.object_store.fence.probing import CONDITIONAL_WRITES, ProbedStore, probe_store
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    FingerprintSlot,
    OwnerIdentity,
    OwnerRecord,
    StepPointer,
)
from maskrcnn_trainer.object_store.fence.untrusted import parse_owner, parse_pointer
from maskrcnn_trainer.shared.owner_state import OwnerState
from maskrcnn_trainer.shared.variables import TAKE_OVER_VARIABLE

log = logging.getLogger(__name__)

CarryOut = Callable[[Decision], FenceOutcome]
"""Returns the outcome of a decision; raises the error of one that is a failure."""


@dataclass(frozen=True, slots=True)
class StepIdentity:
    """Attempt at a step.

    Attributes:
        experiment: name of the experiment.
        step: name of the step.
        owner: cluster or machine that runs the experiment.
        created: time at which the experiment was created, ``2026-01-31T12:00:00Z``.
        uid: of the experiment.
        attempt: number of the attempt.
        fingerprint: oldest fingerprint of the step.
        take_over_from: the only state of another owner that is replaced, ``<id>/<ownerEpoch>``.
    """

    experiment: str
    step: str
    owner: OwnerIdentity
    created: str
    uid: str
    attempt: int
    fingerprint: str
    take_over_from: str | None = None

    @property
    def keys(self) -> StepKeys:
        """Keys of the step.

        Raises:
            InvalidInput: a name isn't one that a key can contain.
        """
        try:
            return StepKeys(self.experiment, self.step)
        except ValueError as error:
            raise InvalidInput(f"{error}: use letters, digits, and . _ - between them") from error

    @property
    def replaced_owner(self) -> OwnerState | None:
        """State of another owner that is replaced; None: none is.

        Raises:
            InvalidInput: ``take_over_from`` has another form.
        """
        if not self.take_over_from:
            return None
        try:
            return OwnerState.parse(self.take_over_from)
        except ValueError as error:
            raise InvalidInput(f"{TAKE_OVER_VARIABLE}: {error}") from error

    @property
    def follow_terms(self) -> FollowTerms:
        """Terms of the looks of other nodes than node 0.

        Raises:
            InvalidInput: a value has another form.
        """
        return FollowTerms(
            self.keys, self.owner, self.created, self.uid, self.attempt, self.fingerprint, self.replaced_owner
        )

    def order(self, owner_epoch: int) -> AttemptOrder:
        """Return the rank of the attempt under an epoch of the owner."""
        return AttemptOrder(owner_epoch, self.created, self.uid, self.attempt)


def claim_for(identity: StepIdentity, token: str, run: CarryOut) -> AlreadyDone | ClaimedStep:
    """Claim a step.

    Args:
        identity: of the attempt.
        token: of this process, used for no other claim.
        run: carries out a decision.

    Raises:
        InvalidInput: a value can't be recorded (64).
    """
    keys = identity.keys
    _refuse_unreadable(identity, token)
    owned = _own(identity, token, run)
    outcome = run(claim_step(ClaimTerms(keys, identity.order(owned.epoch), identity.fingerprint, token)))
    if isinstance(outcome, AlreadyDone):
        return outcome
    assert isinstance(outcome, ClaimedStep)  # noqa: S101 - all others are errors
    run(confirm_owner(keys.experiment, owned))
    return outcome


def _own(identity: StepIdentity, token: str, run: CarryOut) -> OwnerRecord:
    keys = identity.keys
    terms = OwnershipTerms(keys.experiment, identity.owner, token, identity.replaced_owner)
    outcome = run(own_prefix(terms))
    if isinstance(outcome, ProbeNeeded):
        probed = run(probe_store(f"{keys.experiment}/", token))
        if isinstance(probed, ProbedStore) and probed.undeletable:
            log.warning(
                "%s/ keeps a small object named probe-...: this identity may not delete objects, so unused ones remain",
                keys.experiment,
            )
        # the ids of its writes start again, but none was sent before the probe
        terms = OwnershipTerms(keys.experiment, identity.owner, token, identity.replaced_owner, CONDITIONAL_WRITES)
        outcome = run(own_prefix(terms))
    assert isinstance(outcome, OwnedPrefix)  # noqa: S101 - all others are errors
    return outcome.record


def _refuse_unreadable(identity: StepIdentity, token: str) -> None:
    """Refuse values with which the records couldn't be read back, before they are written.

    Raises:
        InvalidInput: a value has another form.
    """
    keys = identity.keys
    slot = FingerprintSlot(identity.fingerprint, keys.written_once(1, token, 0, "manifest"))
    pointer = StepPointer(f"{token}-0", 1, 1, identity.order(1), token, slot)
    parse_owner(encode_record(OwnerRecord(f"{token}-0", identity.owner, 1, CONDITIONAL_WRITES)), keys.experiment)
    parse_pointer(encode_record(pointer), keys)
