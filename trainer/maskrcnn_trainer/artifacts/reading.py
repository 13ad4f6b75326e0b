"""Reading of the owners, pointers, and manifests below a URL. One that is damaged is a problem of its step alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from maskrcnn_trainer.artifacts.names import ArtifactName
from maskrcnn_trainer.artifacts.overview import ExperimentOverview, Overview, SetOverview, StepOverview
from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.exchange_types import (
    DamagedStore,
    FenceAnswer,
    FenceOutcome,
    FenceReply,
    FenceRequest,
    FoundRecord,
    GetRecord,
    ListedKeys,
    ListKeys,
    run_decision,
)
from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key, steps_in
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, OwnerRecord, PublishedSet, StepPointer
from maskrcnn_trainer.object_store.fence.result_reading import ReadResults, ReadTerms, read_results
from maskrcnn_trainer.shared.messages import RUN_FILE

SendRequest = Callable[[FenceRequest], FenceAnswer]
MOST_READS = 3
"""Most reads of a pointer whose manifest was replaced and deleted meanwhile."""


def read_overview(send: SendRequest, name: ArtifactName | None = None) -> Overview:
    """Return what is below a URL.

    Args:
        send: carries out requests.
        name: experiment or step; None: all experiments.

    Raises:
        InvalidInput: the store refuses the listing.
        TryAgain: the store is unavailable.
    """
    listed = _listed(send, _prefix(name))
    keys = tuple(entry.key for entry in listed.entries)
    found: dict[str, ExperimentOverview] = {}
    for experiment, own in sorted(_by_experiment(keys).items()):
        one = _experiment(send, experiment, own, None if name is None else name.step)
        if one is not None:
            found[experiment] = one
    return Overview(found, listed.complete)


def read_step(send: SendRequest, keys: StepKeys) -> StepOverview:
    """Return what a step's pointer names; a set that was replaced while it was read is read again."""
    try:
        return _step(send, keys)
    except InvalidInput as error:
        return StepOverview(problem=str(error))


def read_set(send: SendRequest, keys: StepKeys) -> PublishedSet:
    """Return the current set of a step.

    Raises:
        InvalidInput: it has none, or it is damaged.
        TryAgain: the store is unavailable.
    """
    return set_of_outcome(run_decision(read_results(ReadTerms(keys, paths=frozenset())), send), keys)


def set_of_outcome(outcome: FenceOutcome, keys: StepKeys) -> PublishedSet:
    """Return the set of the outcome of a read.

    Raises:
        InvalidInput: there is none, or it is damaged.
    """
    if isinstance(outcome, ReadResults):
        return outcome.published
    if isinstance(outcome, DamagedStore):
        raise InvalidInput(f"{outcome.key} {outcome.problem}", reason="StoreRefused")
    raise InvalidInput(f"NAME: {keys.prefix.rstrip('/')} has no results", reason="NotPublished")


@dataclass(frozen=True)
class StepsBelow:
    """Steps that have a pointer or objects of ours; complete if all keys could be listed."""

    steps: tuple[StepKeys, ...]
    complete: bool


def steps_below(send: SendRequest, name: ArtifactName | None) -> StepsBelow:
    """Return the steps of an experiment, or of all experiments, in order; a name of a step limits them to it.

    Raises:
        InvalidInput: the store refuses the listing.
        TryAgain: the store is unavailable.
    """
    listed = _listed(send, _prefix(name))
    found = []
    for experiment, keys in sorted(_by_experiment(tuple(entry.key for entry in listed.entries)).items()):
        if _is_name(experiment):
            found += [StepKeys(experiment, step) for step in steps_in(experiment, keys)]
    only = None if name is None else name.step
    return StepsBelow(tuple(keys for keys in found if only in (None, keys.step)), listed.complete)


def _is_name(text: str) -> bool:
    try:
        StepKeys(text, text)
    except ValueError:
        return False
    return True


def _prefix(name: ArtifactName | None) -> str:
    if name is None:
        return ""
    # a step's experiment has its owner above the step
    return f"{name.experiment}/"


def _listed(send: SendRequest, prefix: str) -> ListedKeys:
    while True:
        answer = send(ListKeys(prefix))
        if isinstance(answer, ListedKeys):
            return answer


def _by_experiment(keys: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the keys that lie in a directory, by the first segment."""
    found: dict[str, list[str]] = {}
    for key in keys:
        experiment, slash, _ = key.partition("/")
        if slash:
            found.setdefault(experiment, []).append(key)
    return {experiment: tuple(own) for experiment, own in found.items()}


def _experiment(
    send: SendRequest, experiment: str, keys: tuple[str, ...], only: str | None
) -> ExperimentOverview | None:
    """Return an experiment; None if the keys are foreign."""
    names = (*steps_in(experiment, keys), *_unusable_steps(experiment, keys))
    has_owner = owner_key(experiment) in keys
    if not names and not has_owner:
        return None
    steps = {}
    for step in sorted(name for name in names if only in (None, name)):
        try:
            step_keys = StepKeys(experiment, step)
        except ValueError as error:
            steps[step] = StepOverview(problem=str(error))
        else:
            steps[step] = read_step(send, step_keys)
    one = ExperimentOverview(steps=steps)
    if not has_owner:
        return one
    if not _is_name(experiment):
        return replace(one, problem=f"{experiment!r} isn't a name that an experiment can have")
    return _with_owner(send, experiment, one)


def _with_owner(send: SendRequest, experiment: str, one: ExperimentOverview) -> ExperimentOverview:
    try:
        record = _record(send, owner_key(experiment))
    except InvalidInput as error:
        return replace(one, problem=str(error))
    if record is None:
        return one
    if not isinstance(record.content, OwnerRecord):
        return replace(one, problem=f"{owner_key(experiment)} isn't an owner")
    return replace(one, owner=record.content.owner, owner_epoch=record.content.epoch)


def _unusable_steps(experiment: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names above pointers which no step can have, or whose experiment has such a name."""
    found = set()
    for key in keys:
        parts = key.split("/")
        if len(parts) == 3 and parts[2] == RUN_FILE and not (_is_name(experiment) and _is_name(parts[1])):
            found.add(parts[1])
    return tuple(found)


def _step(send: SendRequest, keys: StepKeys) -> StepOverview:
    for _ in range(MOST_READS):
        found = _record(send, keys.pointer)
        if found is None:
            return StepOverview(problem=f"{keys.pointer} doesn't exist")
        if not isinstance(found.content, StepPointer):
            return StepOverview(problem=f"{keys.pointer} isn't a pointer")
        sets = {slot.manifest: _set(send, slot) for slot in found.content.slots}
        if None not in sets.values():
            current, previous = found.content.current, found.content.previous
            return StepOverview(
                sets[current.manifest] if current else None, sets[previous.manifest] if previous else None
            )
    return StepOverview(problem=f"{keys.pointer} names a manifest that doesn't exist")


def _set(send: SendRequest, slot: FingerprintSlot) -> SetOverview | None:
    """Return the set of a slot; None if its manifest doesn't exist (any more)."""
    found = _record(send, slot.manifest)
    if found is None:
        return None
    if not isinstance(found.content, PublishedSet) or found.content.fingerprint != slot.fingerprint:
        raise InvalidInput(
            f"{slot.manifest} isn't the manifest of the fingerprint that the pointer states", reason="StoreRefused"
        )
    return SetOverview.of(found.content)


def _record(send: SendRequest, key: str) -> FoundRecord | None:
    while True:
        answer = send(GetRecord(key))
        if isinstance(answer, FoundRecord):
            return answer
        if answer is FenceReply.NOT_FOUND:
            return None
