"""Cache of the cluster: experiments as typed objects, their Jobs and pods as views.

Objects come from three sources (watches, full lists, responses to our own writes) in any order. The version with the
larger resourceVersion is kept: since Kubernetes 1.35, the versions of one kind are guaranteed to be ordered. A deleted
object comes back only in a later version: a watch reports an object as deleted when its label is removed, and as added
when the label is set again.

An object that cannot be read for any reason is skipped, so that it does not keep the others from being read. Values
that users can write are parsed leniently (:mod:`maskrcnn_operator.jobs.parse`) or reported in the experiment's status
(:mod:`maskrcnn_operator.cluster.parse`). So only metadata that no API server writes, or a bug, leads to a skip.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestError, ManifestProblem
from maskrcnn_operator.api.status import ExperimentStatus, Progress
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
"""Callback for unreadable objects; receives kind, namespace, and name (both empty if they cannot be read), and the
error."""

_TOMBSTONES = 20_000
FOR_GOOD = 2**64
"""Larger than every version: the object never comes back."""
_KEPT_PODS = 2_000
"""Deleted pods that are kept for each namespace: two of the largest worker groups. The limit is needed since any user
who can create pods in the namespace can add to them."""
_KEPT_DESIRED = 4_000
_IDENTITY = frozenset({"namespace", "name", "uid", "resourceVersion", "generation"})
_UNDECODABLE = ManifestProblem("", "the object cannot be decoded: it is nested too deeply")


@dataclass(frozen=True, slots=True)
class ExperimentEntry:
    """Last known state of an experiment.

    Attributes:
        version: its resourceVersion.
        experiment: None if the object cannot be read because of ``problems``. If all problems are in fields that no run
            is followed by, the experiment is there without these fields, and must not be carried out.
        raw: the object without annotations, and with ``suspend`` alone of its spec; None if the object can be read. It
            has no status if that is unknown.
        reported: only the metadata is known, and the conditions of the object report this.
    """

    uid: str
    version: int
    generation: int
    experiment: MaskRCNNExperiment | None
    problems: tuple[ManifestProblem, ...] = ()
    raw: Mapping[str, Any] | None = None
    reported: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    key: Key
    version: int
    value: Any


class Cache:
    """Last known state of the cluster. Not thread-safe.

    Args:
        on_unreadable: see :data:`OnUnreadable`.
    """

    def __init__(self, on_unreadable: OnUnreadable = lambda *_: None) -> None:
        self._on_unreadable = on_unreadable
        self._seen: dict[Resource, dict[str, _Seen]] = {resource: {} for resource in WATCHED}
        self._by_key: dict[Resource, dict[Key, set[str]]] = {resource: {} for resource in WATCHED}
        self._gone: OrderedDict[str, int] = OrderedDict()
        """By uid, the version up to which an object counts as deleted."""
        self._kept_pods: dict[str, OrderedDict[str, None]] = {}
        """By namespace, uids of deleted pods that are kept, oldest first."""
        self._desired: Kept[str, tuple[int, DesiredState]] = Kept(_KEPT_DESIRED)
        self.listed = False
        """True once every namespace that can be listed has been listed."""
        self.last_listed: float | None = None
        """Time of the newest list of a namespace, by ``time.monotonic()``; None until :attr:`listed`."""

    def mark_namespace_listed(self) -> None:
        """Record that every kind of a namespace has just been listed."""
        if self.listed:
            self.last_listed = time.monotonic()

    def mark_listed(self) -> None:
        """Record that every namespace that can be listed has been listed."""
        self.listed, self.last_listed = True, time.monotonic()

    def lacks(self, resource: Resource, uid: str, version: int) -> bool:
        """Return whether ``version`` of an object is newer than the known one, and not deleted as far as is known."""
        seen = self._seen[resource].get(uid)
        return version > self._gone.get(uid, -1) and (seen is None or seen.version < version)

    def has(self, resource: Resource, uid: str) -> bool:
        """Return whether an object exists as far as is known, readable or not."""
        return uid in self._seen[resource]

    def experiment(self, namespace: str, name: str) -> MaskRCNNExperiment | None:
        """Return the experiment; None if it does not exist or cannot be read."""
        entry = self.entry(Key(namespace, name))
        return entry.experiment if entry else None

    def entry(self, key: Key) -> ExperimentEntry | None:
        """Return the newest experiment of that name, readable or not."""
        entries = [seen.value for seen in self._of(EXPERIMENTS, key) if isinstance(seen.value, ExperimentEntry)]
        return max(entries, key=lambda entry: entry.version, default=None)

    def experiments(self) -> list[MaskRCNNExperiment]:
        """Return all experiments that can be read."""
        values = (seen.value for seen in self._seen[EXPERIMENTS].values())
        return [
            value.experiment for value in values if isinstance(value, ExperimentEntry) and value.experiment is not None
        ]

    def keys(self) -> set[Key]:
        """Return the keys of all experiments, and of deleted ones that still have Jobs or pods."""
        return {key for keys in self._by_key.values() for key in keys}

    def jobs_of(self, namespace: str, name: str) -> list[JobView]:
        """Return the Jobs that have an experiment's name as a label, with any uid of the experiment."""
        return [seen.value for seen in self._of(JOBS, Key(namespace, name)) if isinstance(seen.value, JobView)]

    def pods_of(self, namespace: str, name: str) -> list[PodView]:
        """Return the pods that have an experiment's name as a label, with any uid of the experiment."""
        return [seen.value for seen in self._of(PODS, Key(namespace, name)) if isinstance(seen.value, PodView)]

    def job(self, uid: str) -> JobView | None:
        """Return the Job of that uid."""
        seen = self._seen[JOBS].get(uid)
        return seen.value if seen and isinstance(seen.value, JobView) else None

    def pod(self, uid: str) -> PodView | None:
        """Return the pod of that uid."""
        seen = self._seen[PODS].get(uid)
        return seen.value if seen and isinstance(seen.value, PodView) else None

    def put(self, resource: Resource, item: Mapping[str, Any]) -> Key | None:
        """Store an object; return the key of its experiment, or None if nothing changed or it belongs to none.

        It raises nothing, for any object: one that cannot be read is skipped, and its last known state stays.
        """
        try:
            return self._put(resource, item)
        except Exception as error:  # noqa: BLE001 - a malformed object must not affect others
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
            self._remove_from_kept(uid, key.namespace)
        value: ExperimentEntry | JobView | PodView
        if resource is EXPERIMENTS:
            value = _entry(item, uid, version, old.value if old is not None else None)
            if value.experiment is None:
                self._leave_out(resource, item, ManifestError(value.problems))
        else:
            value = job_view(item) if resource is JOBS else pod_view(item)
            if old is not None and replace(value, resource_version=old.value.resource_version) == old.value:
                # most changes of a Job's or a pod's status do not affect the experiment
                self._seen[resource][uid] = _Seen(key, version, value)
                return None
        if old is not None and old.key != key:
            # its label was changed: it now belongs to another experiment
            self._remove(resource, uid, old.key)
        self._seen[resource][uid] = _Seen(key, version, value)
        self._by_key[resource].setdefault(key, set()).add(uid)
        return key

    def put_undecodable(
        self, metadata: Mapping[str, Any], resource: Resource = EXPERIMENTS, *, reported: bool = False
    ) -> Key | None:
        """Store an object of which only the metadata can be decoded; otherwise the same as :meth:`put`.

        Args:
            metadata: the object's metadata.
            resource: kind of the object.
            reported: its conditions report this. That stays recorded until its spec changes.
        """
        try:
            key = self._put_undecodable(metadata, reported) if resource is EXPERIMENTS else None
        except Exception as error:  # noqa: BLE001 - a malformed object must not affect others
            self._leave_out(resource, {"metadata": metadata}, error)
            return None
        if not reported:
            self._leave_out(resource, {"metadata": metadata}, ManifestError((_UNDECODABLE,)))
        return key

    def _put_undecodable(self, metadata: Mapping[str, Any], reported: bool) -> Key | None:
        uid, version, generation = identifier(metadata, "uid"), version_number(metadata), generation_number(metadata)
        old = self._seen[EXPERIMENTS].get(uid)
        key = experiment_key(EXPERIMENTS, metadata)
        if key is None or not self.lacks(EXPERIMENTS, uid, version):
            return None
        raw = {"metadata": {name: value for name, value in metadata.items() if name in _IDENTITY}}
        before = old.value if old is not None else None
        known = before is not None and (before.problems, before.generation) == ((_UNDECODABLE,), generation)
        reported = reported or (before is not None and known and before.reported)
        entry = ExperimentEntry(uid, version, generation, None, (_UNDECODABLE,), raw, reported)
        self._seen[EXPERIMENTS][uid] = _Seen(key, version, entry)
        self._by_key[EXPERIMENTS].setdefault(key, set()).add(uid)
        return None if known else key

    def _leave_out(self, resource: Resource, item: object, error: Exception) -> None:
        metadata = item.get("metadata") if isinstance(item, Mapping) else None
        known = metadata if isinstance(metadata, Mapping) else {}
        self._on_unreadable(resource, clean(known.get("namespace"), 253), clean(known.get("name"), 253), error)

    def put_progress(self, item: Mapping[str, Any]) -> Key | None:
        """Store the response to a write of progress; return the key if it calls for a reconciliation.

        It does if it shows an edit that was not known yet, or if a checkpoint waits since another time than before. The
        watch will deliver the same version again, which is then no change.
        """
        uid = uid_of(item) or ""
        before = self._seen[EXPERIMENTS].get(uid)
        key = self.put(EXPERIMENTS, item)
        if key is None or before is None:
            return key
        after = self._seen[EXPERIMENTS][uid].value
        return key if _asked_for(before.value) != _asked_for(after) or _waits_differently(before.value, after) else None

    def put_status(self, metadata: Mapping[str, Any], experiment: MaskRCNNExperiment, status: ExperimentStatus) -> None:
        """Store that ``status`` was written to ``experiment``; ``metadata`` is from the response.

        The progress belongs to another writer and stays unchanged. If the metadata cannot be read, nothing is stored:
        the watch delivers the object later.
        """
        try:
            uid, version = identifier(metadata, "uid"), version_number(metadata)
        except Exception as error:  # noqa: BLE001 - a malformed object must not affect others
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
        """Remove a deleted object; return the key of its experiment if the object was known.

        A pod that had ended is kept as long as its Job exists: the Job controller may delete the pod before its
        termination message has been read.

        Args:
            resource: kind of the object.
            uid: uid of the object.
            version: the object is deleted up to this version; a newer one stays, or is stored later.
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
        """Stop counting an object as deleted, since the API server has just returned it."""
        self._gone.pop(uid, None)

    def retain(self, resource: Resource, namespace: str | None, uids: set[str], version: int) -> set[Key]:
        """Drop the objects that a full list of version ``version`` lacks; return the keys that changed.

        An object that is newer than the list stays: it was created while the list was read.
        """
        missing = [
            uid
            for uid, seen in self._seen[resource].items()
            if uid not in uids and namespace in (None, seen.key.namespace)
        ]
        return {key for key in (self.drop(resource, uid, version) for uid in missing) if key is not None}

    def replace(self, resource: Resource, items: Iterable[Mapping[str, Any]], namespace: str | None = None) -> set[Key]:
        """Replace all objects of a kind by ``items``; return the keys that changed."""
        listed = list(items)
        changed = {key for key in (self.put(resource, item) for item in listed) if key is not None}
        uids = {uid for uid in map(uid_of, listed) if uid is not None}
        newest = max((seen.version for seen in self._seen[resource].values()), default=0)
        return changed | self.retain(resource, namespace, uids, newest)

    def desired(self, experiment: MaskRCNNExperiment) -> DesiredState:
        """Return ``resolve(experiment)`` with the problems of its entry, cached until the spec changes."""
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
            self._remove_from_kept(uid, key.namespace)
        uids = self._by_key[resource][key]
        uids.discard(uid)
        if not uids:
            del self._by_key[resource][key]

    def _remove_from_kept(self, uid: str, namespace: str) -> None:
        kept = self._kept_pods.get(namespace)
        if kept is not None:
            kept.pop(uid, None)
            if not kept:
                del self._kept_pods[namespace]

    def _of(self, resource: Resource, key: Key) -> list[_Seen]:
        seen = self._seen[resource]
        return [seen[uid] for uid in self._by_key[resource].get(key, ())]


def _asked_for(entry: ExperimentEntry) -> object:
    """Return a value that changes when a user edits or deletes the experiment."""
    deleted = entry.experiment.metadata.deletion_timestamp if entry.experiment else None
    return entry.generation, deleted, entry.experiment is None


def _waits_differently(before: ExperimentEntry, after: ExperimentEntry) -> bool:
    """Return whether checkpoints wait since other times than before; False if the progress was removed."""
    progress = _progress(after)
    known = _progress(before)
    return progress is not None and progress.unpublished != (known.unpublished if known else ())


def _progress(entry: ExperimentEntry) -> Progress | None:
    return entry.experiment.status.progress if entry.experiment is not None else None


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
