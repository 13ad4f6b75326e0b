"""Rule 5: garbage is listed by a write of the pointer, is never named again, and is deleted an hour later."""

from __future__ import annotations

from dataclasses import dataclass, replace

from maskrcnn_trainer.object_store.fence.exchange_types import (
    Decision,
    DeleteKeys,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    ListedKeys,
    ListKeys,
)
from maskrcnn_trainer.object_store.fence.holding import HeldOutcome, NamedSets, StepHolder, change_pointer
from maskrcnn_trainer.object_store.fence.node_logs import awaited_logs
from maskrcnn_trainer.object_store.fence.records import MOST_GARBAGE, ClaimName, PublishedSet, StepPointer

SECONDS_UNTIL_DELETION = 3600.0
"""Time between the listing of garbage and its deletion, by the store's clock: a reader may still load it."""


@dataclass(frozen=True, slots=True)
class CleanedStep(HeldOutcome):
    """Garbage was deleted, or not: a listing was incomplete, or deletion isn't permitted; each deserves one warning."""

    incomplete: bool = False
    forbidden: bool = False


def clean_step(
    holder: StepHolder, in_flight: frozenset[str] = frozenset(), seconds: float = SECONDS_UNTIL_DELETION
) -> Decision:
    """Return the decision that deletes garbage which is old enough, and lists new garbage.

    Args:
        holder: of the step.
        in_flight: keys of uploads whose publish is still to come.
        seconds: time between listing and deletion.
    """
    return _Listing(holder, in_flight, seconds)


def named_keys(pointer: StepPointer, sets: dict[str, PublishedSet]) -> frozenset[str]:
    """Return the keys that a pointer names: manifests, and the files that they name."""
    manifests = [slot.manifest for slot in pointer.slots]
    return frozenset(manifests) | {file.key for manifest in manifests for file in sets[manifest].files}


def is_of_mine_or_lower_epoch(holder: StepHolder, key: str) -> bool:
    """Return whether a key was written by this process or under an earlier claim."""
    parts = holder.keys.parse(key)
    if parts is None:
        return False
    pointer = holder.pointer
    return parts.epoch < pointer.epoch or (parts.epoch, parts.token) == (pointer.epoch, pointer.token)


def logs_to_keep(holder: StepHolder, existing: frozenset[str], named: frozenset[str]) -> frozenset[str]:
    """Return the logs among existing keys that other nodes have uploaded, and that may be named by a later publish."""
    claim = ClaimName(holder.pointer.epoch, holder.pointer.token)
    return awaited_logs(holder.keys, claim, existing, named)


def garbage_of(holder: StepHolder, existing: frozenset[str], in_flight: frozenset[str]) -> tuple[str, ...]:
    """Return the garbage among existing keys, with that which is listed already, sorted, at most ``MOST_GARBAGE``."""
    named = named_keys(holder.pointer, dict(holder.sets))
    old = [key for key in holder.pointer.garbage if key in existing]
    kept = named | in_flight | logs_to_keep(holder, existing, named)
    new = sorted(key for key in existing - set(old) - kept if is_of_mine_or_lower_epoch(holder, key))
    return tuple(sorted([*old, *new][:MOST_GARBAGE]))


def old_enough(holder: StepHolder, now: float, seconds: float) -> tuple[str, ...]:
    """Return the garbage that was listed long enough ago, without any key that is named."""
    named = named_keys(holder.pointer, dict(holder.sets))
    listed = dict(holder.listed)
    return tuple(
        key
        for key in holder.pointer.garbage
        if key in listed
        and now - listed[key] >= seconds
        and key not in named
        and is_of_mine_or_lower_epoch(holder, key)
    )


def after_listing(
    holder: StepHolder, listed: ListedKeys, in_flight: frozenset[str], seconds: float
) -> Decision | FenceOutcome:
    """Return what follows a listing: a deletion if garbage is old enough, else the write that lists garbage."""
    if not listed.complete:
        return CleanedStep(holder, incomplete=True)
    times = {entry.key: entry.modified for entry in listed.entries}
    existing = frozenset(times)
    now = times.get(holder.keys.pointer)
    if now is None:
        return _listing_write(holder, existing, in_flight)
    known = dict(holder.listed)
    seen = tuple((key, known.get(key, now)) for key in holder.pointer.garbage)
    due = tuple(key for key in old_enough(replace(holder, listed=seen), now, seconds) if key in existing)
    holder = replace(holder, listed=seen)
    return _Deletion(holder, existing, in_flight, due) if due else _listing_write(holder, existing, in_flight)


def _listing_write(
    holder: StepHolder, existing: frozenset[str], in_flight: frozenset[str], *, forbidden: bool = False
) -> Decision | FenceOutcome:
    return _cleaned(change_pointer(holder, GarbageChange(existing, in_flight)), forbidden)


def _cleaned(step: Decision | FenceOutcome, forbidden: bool) -> Decision | FenceOutcome:
    """Return a step of a pointer's write as one of the cleaning."""
    if isinstance(step, HeldOutcome):
        return CleanedStep(step.holder, forbidden=forbidden)
    return step if isinstance(step, FenceOutcome) else _ListingWrite(step, forbidden)


@dataclass(frozen=True, slots=True)
class GarbageChange:
    """List of the garbage among existing keys, computed from the very content that is written."""

    existing: frozenset[str]
    in_flight: frozenset[str]

    @property
    def sets(self) -> NamedSets:
        """Nothing: cleaning names no manifest."""
        return ()

    def apply(self, holder: StepHolder) -> StepPointer | None:
        """Return the pointer's content with the new list, or None if it is the old one."""
        garbage = garbage_of(holder, self.existing, self.in_flight)
        return None if set(garbage) == set(holder.pointer.garbage) else replace(holder.pointer, garbage=garbage)


@dataclass(frozen=True, slots=True)
class _Listing:
    holder: StepHolder
    in_flight: frozenset[str]
    seconds: float

    @property
    def request(self) -> FenceRequest:
        return ListKeys(self.holder.keys.prefix)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        if not isinstance(answer, ListedKeys):
            return self
        return after_listing(self.holder, answer, self.in_flight, self.seconds)


@dataclass(frozen=True, slots=True)
class _Deletion:
    holder: StepHolder
    existing: frozenset[str]
    in_flight: frozenset[str]
    keys: tuple[str, ...]

    @property
    def request(self) -> FenceRequest:
        return DeleteKeys(self.keys)

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        gone = frozenset(self.keys) if answer is FenceReply.DELETED else frozenset()
        forbidden = answer is FenceReply.FORBIDDEN
        return _listing_write(self.holder, self.existing - gone, self.in_flight, forbidden=forbidden)


@dataclass(frozen=True, slots=True)
class _ListingWrite:
    write: Decision
    forbidden: bool

    @property
    def request(self) -> FenceRequest:
        return self.write.request

    def after(self, answer: FenceAnswer) -> Decision | FenceOutcome:
        return _cleaned(self.write.after(answer), self.forbidden)
