"""Processes of the enumeration: sequences of the product's decisions, as frozen states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.unit.object_store.fence.group_logs import (
    NODE,
    PATH,
    AwaitedClaim,
    ClaimSeen,
    LogLook,
    LogSeen,
    LogUpload,
    LogUploaded,
)

from maskrcnn_trainer.object_store.fence import (
    claiming,
    cleaning,
    following,
    holding,
    node_logs,
    outside_cleaning,
    ownership,
    result_reading,
    tombstones,
    uploading,
)
from maskrcnn_trainer.object_store.fence.exchange_types import (
    AnothersOwner,
    Decision,
    FenceAnswer,
    FenceOutcome,
    SupersededOutcome,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys
from maskrcnn_trainer.object_store.fence.records import (
    AttemptOrder,
    ClaimName,
    FingerprintSlot,
    NodeLog,
    OwnerIdentity,
    OwnerRecord,
    PublishedFile,
    PublishedSet,
)
from maskrcnn_trainer.shared.owner_state import OwnerState

KEYS = StepKeys("e", "s")
RESTARTED = 7
"""Number of the first incarnation that the check of progress starts."""


@dataclass(frozen=True)
class Actor:
    """Task of a process: an attempt that claims, publishes, and cleans; a reader; or an administrator.

    Attributes:
        name: with the number of the incarnation, its token.
        kind: attempt, reader, admin (who deletes), outside (who cleans without a claim), node (another one of a worker
            group, which uploads its log ``publishes`` times), or follower (such a node before it has joined).
        of: of a node or follower: name of the attempt's process on node 0.
        logs: whether each publish names the log of another node.
        owner: id of its owner.
        created: rank of the experiment's creationTimestamp.
        attempt: number of the attempt.
        fingerprint: of its results; for a reader, None reads the current slot.
        publishes: number of publishes.
        files: uploaded with each publish.
        clean: whether it cleans after each publish.
        thread: whether it cleans between an upload and its publish.
        result: whether the last publish has a result.
        results: whether each publish has one.
        take: owner and epoch of takeOverFrom.
        merge: whether uploads, and reads of objects that are written once, don't interleave with other processes.
        check_owner: whether it starts with the owner.
        inherit: whether a publish keeps a file of the set before.
        top: whether it must always end in success when it runs alone.
    """

    name: str
    kind: str = "attempt"
    of: str = ""
    logs: bool = False
    owner: str = "A"
    created: int = 1
    attempt: int = 1
    fingerprint: str | None = "F1"
    publishes: int = 1
    files: int = 1
    clean: bool = False
    thread: bool = False
    result: bool = False
    results: bool = False
    take: tuple[str, int] | None = None
    merge: bool = True
    check_owner: bool = False
    inherit: bool = False
    top: bool = False

    def order(self, owner_epoch: int) -> AttemptOrder:
        """Return its order."""
        return AttemptOrder(owner_epoch, str(self.created), f"u{self.created}", self.attempt)


@dataclass(frozen=True)
class Event:
    """News that a process has got: ``kind`` is reported, done, unfinished, superseded, lost, or deleted."""

    kind: str
    manifest: str = ""
    order: AttemptOrder | None = None
    token: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class ProcessState:
    """State of a process between two requests.

    Attributes:
        incarnation: number of its start.
        end: empty while it runs; else done, superseded, refused, or lost (of a follower: superseded).
        phase: own, claim, confirm, upload, publish, clean, last, read, delete, follow, unclaimed (of a follower whose
            last look has found the step unclaimed).
        decision: of the product.
        owner_epoch: 0 until it is known.
        owned: record of the owner that was checked.
        holder: of the step, between two decisions.
        names: source of keys.
        count: number of publishes so far.
        uploaded: slot and set whose publish is to come.
        newest: log of another node that was accepted last.
        log_names: source of keys of a node.
        claimed: order of node 0 that a follower has seen.
    """

    incarnation: int
    end: str = ""
    phase: str = ""
    decision: Decision | None = None
    owner_epoch: int = 0
    owned: OwnerRecord | None = None
    holder: holding.StepHolder | None = None
    names: uploading.UploadNames | None = None
    count: int = 0
    uploaded: tuple[FingerprintSlot, PublishedSet] | None = None
    newest: NodeLog | None = None
    log_names: node_logs.LogNames | None = None
    claimed: AttemptOrder | None = None


Settled = tuple[ProcessState, tuple[Event, ...]]


def token_of(actor: Actor, incarnation: int) -> str:
    """Return the token of an incarnation."""
    return f"{actor.name}{incarnation}"


def started(actor: Actor, incarnation: int) -> ProcessState:
    """Return the state of a process that was just started."""
    if actor.kind != "attempt":
        phase, decision = _first_of(actor, token_of(actor, incarnation))
        return ProcessState(incarnation, phase=phase, decision=decision)
    if actor.check_owner:
        take = OwnerState(*actor.take) if actor.take else None
        identity = OwnerIdentity(actor.owner, "n", KEYS.experiment)
        token = token_of(actor, incarnation)
        owner_terms = ownership.OwnershipTerms(KEYS.experiment, identity, token, take, "probed")
        return ProcessState(incarnation, phase="own", decision=ownership.own_prefix(owner_terms))
    return _claiming(actor, ProcessState(incarnation), 1)


def _first_of(actor: Actor, token: str) -> tuple[str, Decision]:
    """Return the first phase and decision of a process that isn't an attempt."""
    match actor.kind:
        case "reader":
            return "read", result_reading.read_results(result_reading.ReadTerms(KEYS, actor.fingerprint))
        case "admin":
            return "delete", tombstones.delete_experiment(KEYS.experiment, token)
        case "node":
            return "await", AwaitedClaim(KEYS, actor.of)
        case "follower":
            return "follow", _look(actor, None)
        case "outside":
            return "clean", outside_cleaning.clean_outside(outside_cleaning.OutsideTerms(KEYS, token, 0.0))
    raise AssertionError(f"unknown kind {actor.kind}")


def _claiming(actor: Actor, state: ProcessState, owner_epoch: int) -> ProcessState:
    terms = claiming.ClaimTerms(KEYS, actor.order(owner_epoch), actor.fingerprint, token_of(actor, state.incarnation))
    return replace(state, phase="claim", owner_epoch=owner_epoch, decision=claiming.claim_step(terms))


def _look(actor: Actor, claimed: AttemptOrder | None) -> Decision:
    order, identity = actor.order(0), OwnerIdentity(actor.owner, "n", KEYS.experiment)
    terms = following.FollowTerms(
        KEYS,
        identity,
        order.created,
        order.uid,
        order.attempt,
        str(actor.fingerprint),
        OwnerState(*actor.take) if actor.take else None,
    )
    return following.follow_step(terms, claimed)


def stepped(actor: Actor, state: ProcessState, answer: FenceAnswer) -> Settled:
    """Return the state after an answer, and what the process has learned."""
    assert state.decision is not None
    return settled(actor, state, state.decision.after(answer), ())


def settled(actor: Actor, state: ProcessState, step: Decision | FenceOutcome, events: tuple[Event, ...]) -> Settled:
    """Return the state in which the next request is known, or the process has ended."""
    while isinstance(step, FenceOutcome):
        state, following, more = on_outcome(actor, state, step)
        events += more
        if following is None:
            return state, events
        step = following
    return replace(state, decision=step), events


def ended(state: ProcessState, end: str) -> ProcessState:
    """Return the state of a process that has ended; an end by 75 keeps the number, for a next start."""
    return ProcessState(state.incarnation if end == "superseded" else 0, end)


Followed = tuple[ProcessState, "Decision | FenceOutcome | None", tuple[Event, ...]]


def on_outcome(actor: Actor, state: ProcessState, outcome: FenceOutcome) -> Followed:
    """Return the state and the next decision after an outcome."""
    for kind, follow in FOLLOWED:
        if isinstance(outcome, kind):
            return follow(actor, state, outcome)
    raise AssertionError(f"unexpected outcome of {actor.name}: {outcome}")


def _on_superseded(actor: Actor, state: ProcessState, outcome: Any) -> Followed:
    if actor.kind == "follower":
        return ended(state, "lost"), None, ()
    token = token_of(actor, state.incarnation)
    event = Event("superseded", order=actor.order(state.owner_epoch), token=token)
    return ended(state, "superseded"), None, (event,)


def _on_refused(actor: Actor, state: ProcessState, outcome: Any) -> Followed:
    return ended(state, "refused"), None, ()


def _on_owned(actor: Actor, state: ProcessState, outcome: ownership.OwnedPrefix) -> Followed:
    if state.phase == "confirm":
        return *_uploading(actor, state), ()
    state = replace(_claiming(actor, state, outcome.record.epoch), owned=outcome.record)
    return state, state.decision, ()


def _on_lost(actor: Actor, state: ProcessState, outcome: ownership.OwnershipLost) -> Followed:
    return ended(state, "superseded"), None, (Event("lost", order=actor.order(state.owner_epoch)),)


def _on_done(actor: Actor, state: ProcessState, outcome: claiming.AlreadyDone) -> Followed:
    order = actor.order(state.owner_epoch)
    if outcome.published.fingerprint != actor.fingerprint or outcome.published.result is None:
        return ended(state, "done"), None, (Event("unfinished", token=token_of(actor, state.incarnation)),)
    if outcome.holder is None:
        return ended(state, "done"), None, (Event("done", order=order),)
    slot = outcome.holder.pointer.slot_of(outcome.published.fingerprint)
    assert slot is not None
    done = Event("done", slot.manifest, order, fingerprint=slot.fingerprint)
    return ended(state, "done"), None, (done, *_inherited(outcome.holder))


def _on_claimed(actor: Actor, state: ProcessState, outcome: claiming.ClaimedStep) -> Followed:
    names = uploading.UploadNames(KEYS, outcome.holder.pointer.epoch, token_of(actor, state.incarnation))
    state = replace(state, holder=outcome.holder, names=names)
    if state.owned is not None:
        confirm = ownership.confirm_owner(KEYS.experiment, state.owned)
        return replace(state, phase="confirm"), confirm, _inherited(outcome.holder)
    return *_uploading(actor, state), _inherited(outcome.holder)


def _on_uploaded(actor: Actor, state: ProcessState, outcome: uploading.UploadedSet) -> Followed:
    state = replace(state, names=outcome.names, uploaded=(outcome.slot, outcome.published))
    if actor.thread:
        flying = frozenset({outcome.slot.manifest, *(file.key for file in outcome.published.files)})
        return replace(state, phase="clean in flight"), cleaning.clean_step(_held(state), flying, 0.0), ()
    return *_publishing(state), ()


def _on_deleted(actor: Actor, state: ProcessState, outcome: tombstones.DeletedExperiment) -> Followed:
    order = tombstones.deletion_order(outcome.record.epoch)
    return ended(state, "done"), None, (Event("deleted", order=order),)


def _on_end(actor: Actor, state: ProcessState, outcome: Any) -> Followed:
    if isinstance(outcome, result_reading.ReadResults) and actor.fingerprint is not None:
        assert outcome.published.fingerprint == actor.fingerprint, "the reader got another fingerprint"
    return ended(state, "done"), None, ()


def _on_open(actor: Actor, state: ProcessState, outcome: following.FollowedStepOpen) -> Followed:
    return replace(state, phase="follow", claimed=outcome.claimed), _look(actor, outcome.claimed), ()


def _on_unclaimed(actor: Actor, state: ProcessState, outcome: following.UnclaimedStep) -> Followed:
    return replace(state, phase="unclaimed"), _look(actor, None), ()


def _held(state: ProcessState) -> holding.StepHolder:
    assert state.holder is not None
    return state.holder


def _inherited(holder: holding.StepHolder) -> tuple[Event, ...]:
    return tuple(Event("reported", slot.manifest) for slot in holder.pointer.slots)


def _uploading(actor: Actor, state: ProcessState) -> tuple[ProcessState, Decision | FenceOutcome]:
    if actor.logs:
        pointer = _held(state).pointer
        return replace(state, phase="look"), LogLook(KEYS, ClaimName(pointer.epoch, pointer.token), state.newest)
    return _uploading_set(actor, state)


def _on_log_seen(actor: Actor, state: ProcessState, outcome: LogSeen) -> Followed:
    return *_uploading_set(actor, replace(state, newest=outcome.newest)), ()


def _on_claim_seen(actor: Actor, state: ProcessState, outcome: ClaimSeen) -> Followed:
    names = node_logs.LogNames(KEYS, outcome.claim, NODE, actor.name)
    return replace(state, phase="log", log_names=names), LogUpload(names), ()


def _on_log_uploaded(actor: Actor, state: ProcessState, outcome: LogUploaded) -> Followed:
    state = replace(state, count=state.count + 1, log_names=outcome.names)
    if state.count == actor.publishes:
        return ended(state, "done"), None, ()
    return state, LogUpload(outcome.names), ()


def _uploading_set(actor: Actor, state: ProcessState) -> tuple[ProcessState, Decision | FenceOutcome]:
    assert state.names is not None
    assert actor.fingerprint is not None
    stem = f"{state.names.token}.{state.count}."
    new = tuple(PublishedFile(f"{stem}{number}", "", 1, f"{stem}{number}") for number in range(actor.files))
    before = _held(state).set_of(actor.fingerprint)
    kept = before.files[-1:] if before and actor.inherit else ()
    is_last = state.count + 1 == actor.publishes
    result = new[0].path if actor.results or (actor.result and is_last) else None
    newest = state.newest
    logs = (PublishedFile(PATH, newest.key, newest.size, newest.sha256),) if newest is not None else ()
    published = PublishedSet(actor.fingerprint, (*kept, *new, *logs), result=result)
    step = uploading.upload_set(state.names, published, [file.path for file in new])
    return replace(state, phase="upload"), step


def _publishing(state: ProcessState) -> tuple[ProcessState, Decision | FenceOutcome]:
    assert state.uploaded is not None
    return replace(state, phase="publish"), holding.publish(_held(state), *state.uploaded)


def _on_held(actor: Actor, state: ProcessState, outcome: holding.HeldOutcome) -> Followed:
    state = replace(state, holder=outcome.holder)
    events: tuple[Event, ...] = ()
    if state.phase == "clean in flight":
        return *_publishing(state), ()
    if state.phase == "publish":
        assert state.uploaded is not None
        events = (Event("reported", state.uploaded[0].manifest),)
        state = replace(state, count=state.count + 1, uploaded=None)
        if actor.clean:
            return replace(state, phase="clean"), cleaning.clean_step(_held(state), seconds=0.0), events
    if state.phase != "last" and state.count < actor.publishes:
        return *_uploading(actor, state), events
    if state.phase != "last" and actor.clean:
        return replace(state, phase="last"), cleaning.clean_step(_held(state), seconds=0.0), events
    return ended(state, "done"), None, events


FOLLOWED: tuple[tuple[type[FenceOutcome], Callable[[Actor, ProcessState, Any], Followed]], ...] = (
    (SupersededOutcome, _on_superseded),
    (AnothersOwner, _on_refused),
    (ownership.OwnedPrefix, _on_owned),
    (claiming.AlreadyDone, _on_done),
    (claiming.ClaimedStep, _on_claimed),
    (uploading.UploadedSet, _on_uploaded),
    (LogSeen, _on_log_seen),
    (ClaimSeen, _on_claim_seen),
    (LogUploaded, _on_log_uploaded),
    (holding.HeldOutcome, _on_held),
    (tombstones.DeletedExperiment, _on_deleted),
    (tombstones.NothingOwned, _on_end),
    (ownership.OwnershipLost, _on_lost),
    (result_reading.ReadResults, _on_end),
    (result_reading.NotPublished, _on_end),
    (outside_cleaning.OutsideCleaned, _on_end),
    (following.FollowedStepDone, _on_end),
    (following.FollowedStepOpen, _on_open),
    (following.UnclaimedStep, _on_unclaimed),
)
"""What a process does after an outcome."""
