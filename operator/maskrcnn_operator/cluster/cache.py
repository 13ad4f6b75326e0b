"""What is known of the cluster: experiments as types, their Jobs and pods as what a run is read from.

Objects come from three sides (watches, full lists, answers to our own writes) in no order. Of two the one with the
larger resourceVersion stays: since Kubernetes 1.35 the versions of one kind are promised to be ordered. An object that
was seen to be deleted comes back only in a later version: a watch tells that an object is deleted when its label goes,
and that it is added when the label is put back.

An object that cannot be read is left out, whatever is wrong with it: one object must not keep the others from being
read. What users may write is read leniently (:mod:`maskrcnn_operator.jobs.parse`) or told in the experiment's status
(:mod:`maskrcnn_operator.cluster.parse`), so that this is left for metadata that no API server writes, and for defects.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestError, ManifestProblem
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.api.text import clean
from maskrcnn_operator.cluster.compact import compact
from maskrcnn_operator.cluster.identity import (
    Key,
    experiment_key,
    generation_number,
    identifier,
    uid_of,
    version_number,
)
from maskrcnn_operator.cluster.kept import Kept
from maskrcnn_operator.cluster.parse import read_experiment, without_what_is_large
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, Resource
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.jobs.parse import job_view, pod_view
from maskrcnn_operator.jobs.views import JobView, PodView

WATCHED = (EXPERIMENTS, JOBS, PODS)
"""The kinds that the cache holds."""

OnUnreadable = Callable[[Resource, str, str, Exception], None]
"""Called for each object that cannot be read: its kind, namespace and name (empty where they cannot be read), and
why."""

_TOMBSTONES = 20_000
FOR_GOOD = 2**64
"""Above every version: the object never comes back."""
_KEPT_PODS = 2_000
"""Pods of a namespace that are kept though they are gone: two of the largest worker groups. Whoever may create pods
there can add as many."""
_KEPT_DESIRED = 4_000
_IDENTITY = frozenset({"namespace", "name", "uid", "resourceVersion", "generation"})
_UNDECODABLE = ManifestProblem("", "the object cannot be decoded: it is nested too deeply")


@dataclass(frozen=True, slots=True)
class ExperimentEntry:
    """An experiment as it was last seen.

    Attributes:
        version: its resourceVersion.
        experiment: None where the object cannot be read; ``problems`` says why. Where they are those of podOverrides
            of steps, it is without these, and not to be carried out.
        raw: the object without its spec and annotations, only where it cannot be read; without a status where that is
            unknown.
        told: of an object of which only the metadata is known: whether its conditions say so.
    """

    uid: str
    version: int
    generation: int
    experiment: MaskRCNNExperiment | None
    problems: tuple[ManifestProblem, ...] = ()
    raw: Mapping[str, Any] | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    key: Key
    version: int
    value: Any


class Cache:
    """The cluster as it was last seen. Not for several threads.

    Args:
        on_unreadable: see :data:`OnUnreadable`.
    """

    def __init__(self, on_unreadable: OnUnreadable = lambda *_: None) -> None:
        self._on_unreadable = on_unreadable
        self._seen: dict[Resource, dict[str, _Seen]] = {resource: {} for resource in WATCHED}
        self._by_key: dict[Resource, dict[Key, set[str]]] = {resource: {} for resource in WATCHED}
        self._gone: OrderedDict[str, int] = OrderedDict()
        """By uid, the version up to which an object is gone."""
        self._kept_pods: dict[str, OrderedDict[str, None]] = {}
        """By namespace, uids of the pods that are gone and kept, the oldest first."""
        self._desired: Kept[str, tuple[int, DesiredState]] = Kept(_KEPT_DESIRED)
        self.listed = False
        """True once every namespace that can be listed has been listed."""
        self.last_listed: float | None = None
        """When a namespace was last listed, by ``time.monotonic()``; None until :attr:`listed`."""

    def mark_namespace_listed(self) -> None:
        """Note that every kind of a namespace has just been listed."""
        if self.listed:
            self.last_listed = time.monotonic()

    def mark_listed(self) -> None:
        """Note that every namespace that can be listed has been."""
        self.listed, self.last_listed = True, time.monotonic()

    def lacks(self, resource: Resource, uid: str, version: int) -> bool:
        """Return whether an object is not known to be gone, and nothing as new as that version of it is known."""
        seen = self._seen[resource].get(uid)
        return version > self._gone.get(uid, -1) and (seen is None or seen.version < version)

    def experiment(self, namespace: str, name: str) -> MaskRCNNExperiment | None:
        """The experiment; None where there is none, or none that can be read."""
        entry = self.entry(Key(namespace, name))
        return entry.experiment if entry else None

    def entry(self, key: Key) -> ExperimentEntry | None:
        """The newest experiment of that name, readable or not."""
        entries = [seen.value for seen in self._of(EXPERIMENTS, key) if isinstance(seen.value, ExperimentEntry)]
        return max(entries, key=lambda entry: entry.version, default=None)

    def experiments(self) -> list[MaskRCNNExperiment]:
        """All experiments that can be read."""
        values = (seen.value for seen in self._seen[EXPERIMENTS].values())
        return [
            value.experiment for value in values if isinstance(value, ExperimentEntry) and value.experiment is not None
        ]

    def keys(self) -> set[Key]:
        """The keys of all experiments, and of those whose Jobs or pods are still there."""
        return {key for keys in self._by_key.values() for key in keys}

    def jobs_of(self, namespace: str, name: str) -> list[JobView]:
        """Jobs that carry an experiment's name, of whatever uid it is."""
        return [seen.value for seen in self._of(JOBS, Key(namespace, name)) if isinstance(seen.value, JobView)]

    def pods_of(self, namespace: str, name: str) -> list[PodView]:
        """Pods that carry an experiment's name, of whatever uid it is."""
        return [seen.value for seen in self._of(PODS, Key(namespace, name)) if isinstance(seen.value, PodView)]

    def job(self, uid: str) -> JobView | None:
        """The Job of that uid."""
        seen = self._seen[JOBS].get(uid)
        return seen.value if seen and isinstance(seen.value, JobView) else None

    def pod(self, uid: str) -> PodView | None:
        """The pod of that uid."""
        seen = self._seen[PODS].get(uid)
        return seen.value if seen and isinstance(seen.value, PodView) else None

    def put(self, resource: Resource, item: Mapping[str, Any]) -> Key | None:
        """Takes an object in; the key of its experiment, None where it says nothing new or belongs to none.

        Nothing is raised, whatever the object is: one that cannot be read is left out, and what is known of it stays.
        """
        try:
            return self._put(resource, item)
        except Exception as error:  # noqa: BLE001 - an object that is odd in any way fails alone
            self._leave_out(resource, item, error)
            return None

    def _put(self, resource: Resource, item: Mapping[str, Any]) -> Key | None:
        metadata = item["metadata"]
        uid, version = identifier(metadata, "uid"), version_number(metadata)
        old = self._seen[resource].get(uid)
        if version <= self._gone.get(uid, -1) or (old is not None and old.version >= version):
            return None
        key = experiment_key(resource, metadata)
        if key is None:
            return None
        if self._gone.pop(uid, None) is not None:
            self._forget_that_it_is_kept(uid, key.namespace)
        value: ExperimentEntry | JobView | PodView
        if resource is EXPERIMENTS:
            value = _entry(item, uid, version, old.value if old is not None else None)
            if value.experiment is None:
                self._leave_out(resource, item, ManifestError(value.problems))
        else:
            value = job_view(item) if resource is JOBS else pod_view(item)
            if old is not None and replace(value, resource_version=old.value.resource_version) == old.value:
                # much of a Job's and a pod's status decides nothing
                self._seen[resource][uid] = _Seen(key, version, value)
                return None
        if old is not None and old.key != key:
            # its label was changed: it belongs to another experiment from now on
            self._remove(resource, uid, old.key)
        self._seen[resource][uid] = _Seen(key, version, value)
        self._by_key[resource].setdefault(key, set()).add(uid)
        return key

    def put_undecodable(
        self, metadata: Mapping[str, Any], resource: Resource = EXPERIMENTS, *, told: bool = False
    ) -> Key | None:
        """Take in an object of which nothing but the metadata can be decoded; as :meth:`put`.

        Args:
            told: its conditions say so; that stays known until its spec changes.
        """
        try:
            key = self._put_undecodable(metadata, told) if resource is EXPERIMENTS else None
        except Exception as error:  # noqa: BLE001 - an object that is odd in any way fails alone
            self._leave_out(resource, {"metadata": metadata}, error)
            return None
        if not told:
            self._leave_out(resource, {"metadata": metadata}, ManifestError((_UNDECODABLE,)))
        return key

    def _put_undecodable(self, metadata: Mapping[str, Any], told: bool) -> Key | None:
        uid, version, generation = identifier(metadata, "uid"), version_number(metadata), generation_number(metadata)
        old = self._seen[EXPERIMENTS].get(uid)
        key = experiment_key(EXPERIMENTS, metadata)
        if key is None or not self.lacks(EXPERIMENTS, uid, version):
            return None
        raw = {"metadata": {name: value for name, value in metadata.items() if name in _IDENTITY}}
        before = old.value if old is not None else None
        known = before is not None and (before.problems, before.generation) == ((_UNDECODABLE,), generation)
        told = told or (before is not None and known and before.told)
        entry = ExperimentEntry(uid, version, generation, None, (_UNDECODABLE,), raw, told)
        self._seen[EXPERIMENTS][uid] = _Seen(key, version, entry)
        self._by_key[EXPERIMENTS].setdefault(key, set()).add(uid)
        return None if known else key

    def _leave_out(self, resource: Resource, item: object, error: Exception) -> None:
        metadata = item.get("metadata") if isinstance(item, Mapping) else None
        known = metadata if isinstance(metadata, Mapping) else {}
        self._on_unreadable(resource, clean(known.get("namespace"), 253), clean(known.get("name"), 253), error)

    def put_progress(self, item: Mapping[str, Any]) -> Key | None:
        """Take in the answer to a write of progress; return the key where it shows an edit that was not known yet.

        The watch has no news left to tell of what such an answer has shown.
        """
        uid = uid_of(item) or ""
        before = self._seen[EXPERIMENTS].get(uid)
        key = self.put(EXPERIMENTS, item)
        if key is None or before is None:
            return key
        return None if _asked_for(before.value) == _asked_for(self._seen[EXPERIMENTS][uid].value) else key

    def put_status(self, metadata: Mapping[str, Any], experiment: MaskRCNNExperiment, status: ExperimentStatus) -> None:
        """Takes in that ``status`` was written to ``experiment``, of which ``metadata`` is what came back.

        The progress belongs to another writer and stays as it was. Metadata that cannot be read is left out: the watch
        brings the object again.
        """
        try:
            uid, version = identifier(metadata, "uid"), version_number(metadata)
        except Exception as error:  # noqa: BLE001 - an object that is odd in any way fails alone
            self._leave_out(EXPERIMENTS, {"metadata": metadata}, error)
            return
        old = self._seen[EXPERIMENTS].get(uid)
        if old is None or old.version >= version:
            return
        kept = status.model_copy(update={"progress": experiment.status.progress})
        newer = experiment.metadata.model_copy(update={"resource_version": metadata["resourceVersion"]})
        written = compact(experiment.model_copy(update={"metadata": newer, "status": kept}))
        self._seen[EXPERIMENTS][uid] = _Seen(old.key, version, replace(old.value, version=version, experiment=written))

    def drop(self, resource: Resource, uid: str, version: int = FOR_GOOD) -> Key | None:
        """Forget an object that is gone; return the key of its experiment where it was known.

        A pod that had ended stays as long as its Job: the Job controller may delete it before its
        termination message has been read.

        Args:
            version: up to which it is gone; a newer state of it is taken in, or stays.
        """
        seen = self._seen[resource].get(uid)
        if seen is not None and seen.version > version:
            return None
        known_to_be_gone = uid in self._gone
        self._gone[uid] = max(version, self._gone.get(uid, version))
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        if seen is None or known_to_be_gone:
            return None
        if resource is PODS and seen.value.terminal and seen.value.job_uid in self._seen[JOBS]:
            self._keep_pod(uid, seen.key)
            return seen.key
        self._remove(resource, uid, seen.key)
        if resource is EXPERIMENTS:
            self._desired.drop(uid)
        if resource is JOBS:
            kept = self._kept_pods.get(seen.key.namespace, ())
            for pod in self.pods_of(*seen.key):
                if pod.job_uid == uid and pod.uid in kept:
                    self._remove(PODS, pod.uid, seen.key)
        return seen.key

    def _keep_pod(self, uid: str, key: Key) -> None:
        kept = self._kept_pods.setdefault(key.namespace, OrderedDict())
        kept[uid] = None
        if len(kept) > _KEPT_PODS:
            oldest = next(iter(kept))
            self._remove(PODS, oldest, self._seen[PODS][oldest].key)

    def revive(self, uid: str) -> None:
        """Take back that an object is gone: the API server has just shown it."""
        self._gone.pop(uid, None)

    def retain(self, resource: Resource, namespace: str | None, uids: set[str], version: int) -> set[Key]:
        """Drops what a full list of version ``version`` lacks; the keys that have changed by it.

        An object that is newer than the list stays: it was made while the list was read.
        """
        missing = [
            uid
            for uid, seen in self._seen[resource].items()
            if uid not in uids and namespace in (None, seen.key.namespace)
        ]
        return {key for key in (self.drop(resource, uid, version) for uid in missing) if key is not None}

    def replace(self, resource: Resource, items: Iterable[Mapping[str, Any]], namespace: str | None = None) -> set[Key]:
        """Makes ``items`` all that there is of a kind; the keys that have changed by it."""
        listed = list(items)
        changed = {key for key in (self.put(resource, item) for item in listed) if key is not None}
        uids = {uid for uid in map(uid_of, listed) if uid is not None}
        newest = max((seen.version for seen in self._seen[resource].values()), default=0)
        return changed | self.retain(resource, namespace, uids, newest)

    def desired(self, experiment: MaskRCNNExperiment) -> DesiredState:
        """``resolve(experiment)`` with the problems of its entry, kept as long as the spec stands."""
        metadata = experiment.metadata
        kept = self._desired.get(metadata.uid)
        if kept is None or kept[0] != metadata.generation:
            kept = metadata.generation, self._resolved(experiment)
            self._desired.put(metadata.uid, kept)
        return kept[1]

    def _resolved(self, experiment: MaskRCNNExperiment) -> DesiredState:
        desired, seen = resolve(experiment), self._seen[EXPERIMENTS].get(experiment.metadata.uid)
        entry = seen.value if seen is not None else None
        if not isinstance(entry, ExperimentEntry) or entry.generation != experiment.metadata.generation:
            return desired
        return replace(desired, problems=(*entry.problems, *desired.problems)) if entry.problems else desired

    def _remove(self, resource: Resource, uid: str, key: Key) -> None:
        del self._seen[resource][uid]
        if resource is PODS:
            self._forget_that_it_is_kept(uid, key.namespace)
        uids = self._by_key[resource][key]
        uids.discard(uid)
        if not uids:
            del self._by_key[resource][key]

    def _forget_that_it_is_kept(self, uid: str, namespace: str) -> None:
        kept = self._kept_pods.get(namespace)
        if kept is not None:
            kept.pop(uid, None)
            if not kept:
                del self._kept_pods[namespace]

    def _of(self, resource: Resource, key: Key) -> list[_Seen]:
        seen = self._seen[resource]
        return [seen[uid] for uid in self._by_key[resource].get(key, ())]


def _asked_for(entry: ExperimentEntry) -> object:
    """Return what differs between two states of an experiment when its user has changed something."""
    deleted = entry.experiment.metadata.deletion_timestamp if entry.experiment else None
    return entry.generation, deleted, entry.experiment is None


def _entry(item: Mapping[str, Any], uid: str, version: int, old: object) -> ExperimentEntry:
    metadata = item["metadata"]
    generation = generation_number(metadata)
    before = old if isinstance(old, ExperimentEntry) and old.generation == generation else None
    known = before.experiment if before is not None else None
    experiment, problems = read_experiment(item, known)
    if before is not None and known is not None and experiment is not None:
        # the spec was not read again
        problems = before.problems
    raw = None if experiment is not None else without_what_is_large(item)
    return ExperimentEntry(uid, version, generation, experiment, problems, raw)
