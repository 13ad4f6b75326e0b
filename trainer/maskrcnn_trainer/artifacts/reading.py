"""Reading of the owners, pointers, and manifests below a URL. One that is damaged is a problem of its step alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

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
from maskrcnn_trainer.object_store.fence.keys import StepKeys, owner_key
from maskrcnn_trainer.object_store.fence.records import FingerprintSlot, OwnerRecord, PublishedSet, StepPointer
from maskrcnn_trainer.object_store.fence.result_reading import ReadResults, ReadTerms, read_results
from maskrcnn_trainer.object_store.fence_store import StoreLevel
from maskrcnn_trainer.shared.messages import RUN_FILE

SendRequest = Callable[[FenceRequest], FenceAnswer]
MOST_READS = 3
"""Most reads of a pointer whose manifest was replaced and deleted meanwhile."""
MOST_UNUSABLE = 100
"""Most folders of a level, with names that no experiment or step can have, that are looked into."""


class ResultsSource(Protocol):
    """Store of experiments, as far as a list needs it."""

    def sender(self) -> SendRequest:
        """Return the function that carries out requests."""

    def level(self, prefix: str) -> StoreLevel:
        """Return the folders and objects directly below a prefix."""


def read_overview(store: ResultsSource, name: ArtifactName | None = None) -> Overview:
    """Return what is below a URL.

    Args:
        store: of the experiments.
        name: experiment or step; None: all experiments.

    Raises:
        InvalidInput: the store refuses the listing.
        TryAgain: the store is unavailable.
    """
    if name is None:
        top = store.level("")
        names, complete = top.folders, top.complete
    else:
        names, complete = (name.experiment,), True
    send = store.sender()
    found: dict[str, ExperimentOverview] = {}
    for experiment in names:
        steps = (
            StepFolders((name.step,)) if name is not None and name.step is not None else _steps_of(store, experiment)
        )
        complete = complete and steps.complete
        one = _experiment(send, experiment, steps)
        if one is not None:
            found[experiment] = one
    return Overview(found, complete)


def read_step(send: SendRequest, keys: StepKeys) -> StepOverview | None:
    """Return what a step's pointer names; None if it doesn't exist.

    A set that was replaced while it was read is read again.
    """
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
class StepFolders:
    """Names of folders that may be steps.

    Attributes:
        names: in order.
        unusable: names that no step can have, of folders with a pointer.
        has_owner: whether the experiment has an owner; None: unknown.
        complete: whether all folders are known.
    """

    names: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    has_owner: bool | None = None
    complete: bool = True


@dataclass(frozen=True)
class StepsBelow:
    """Steps that have a pointer or objects of ours; complete if all folders could be listed."""

    steps: tuple[StepKeys, ...]
    complete: bool


def steps_below(store: ResultsSource, name: ArtifactName | None) -> StepsBelow:
    """Return the steps of an experiment, or of all experiments, in order; a name of a step limits them to it.

    Raises:
        InvalidInput: the store refuses the listing.
        TryAgain: the store is unavailable.
    """
    if name is not None and name.step is not None:
        return StepsBelow((StepKeys(name.experiment, name.step),), complete=True)
    top = store.level("") if name is None else StoreLevel((name.experiment,))
    complete = top.complete
    found = []
    for experiment in filter(_is_name, top.folders):
        level = store.level(experiment)
        complete = complete and level.complete
        for step in filter(_is_name, level.folders):
            keys = StepKeys(experiment, step)
            below = store.level(f"{experiment}/{step}")
            # a level that can't be listed may be that of a step
            if RUN_FILE in below.objects or not below.complete or ("o" in below.folders and _has_ours(store, keys)):
                found.append(keys)
    return StepsBelow(tuple(found), complete)


def _has_ours(store: ResultsSource, keys: StepKeys) -> bool:
    listed = _listed(store.sender(), keys.prefix)
    return not listed.complete or any(keys.parse(entry.key) is not None for entry in listed.entries)


def _is_name(text: str) -> bool:
    try:
        StepKeys(text, text)
    except ValueError:
        return False
    return True


def _listed(send: SendRequest, prefix: str) -> ListedKeys:
    while True:
        answer = send(ListKeys(prefix))
        if isinstance(answer, ListedKeys):
            return answer


def _steps_of(store: ResultsSource, experiment: str) -> StepFolders:
    """Return the folders of an experiment, or of a foreign folder."""
    level = store.level(experiment)
    usable = tuple(step for step in level.folders if _is_name(experiment) and _is_name(step))
    others = [step for step in level.folders if step not in set(usable)][:MOST_UNUSABLE]
    unusable = tuple(step for step in others if RUN_FILE in store.level(f"{experiment}/{step}").objects)
    has_owner = owner_key(experiment).rpartition("/")[2] in level.objects if level.complete else None
    return StepFolders(usable, unusable, has_owner, level.complete)


def _experiment(send: SendRequest, experiment: str, steps: StepFolders) -> ExperimentOverview | None:
    """Return an experiment; None if the folder is foreign."""
    problem = "isn't a name that an experiment or a step can have"
    found = {step: StepOverview(problem=f"{experiment}/{step} {problem}") for step in steps.unusable}
    for step in steps.names:
        one = read_step(send, StepKeys(experiment, step))
        if one is not None:
            found[step] = one
    experiment_found = ExperimentOverview(steps=dict(sorted(found.items())))
    if not _is_name(experiment):
        return replace(experiment_found, problem=f"{experiment} {problem}") if found else None
    if steps.has_owner is not False:
        experiment_found = _with_owner(send, experiment, experiment_found)
    is_there = bool(found or experiment_found.owner_epoch or experiment_found.problem)
    return experiment_found if is_there else None


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


def _step(send: SendRequest, keys: StepKeys) -> StepOverview | None:
    for _ in range(MOST_READS):
        found = _record(send, keys.pointer)
        if found is None:
            return None
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
