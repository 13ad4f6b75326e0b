"""API server in memory, with the rules that the operator relies on."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from maskrcnn_operator.api.status import MOST_CONDITIONS
from maskrcnn_operator.cluster.budget import CallPurpose
from maskrcnn_operator.cluster.client import CONDITIONS_MANAGER, STATUS_MANAGER
from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound
from maskrcnn_operator.cluster.paging import METADATA_ONLY, Page
from maskrcnn_operator.cluster.resources import EXPERIMENTS, OBJECT_EVENTS, Resource

Object = dict[str, Any]
MOST_BYTES = 1 << 20
"""Limit for the conditions; etcd's limit is for the whole object."""


class FakeServer:
    """Stand-in for :class:`maskrcnn_operator.cluster.client.Client` that records writes and gives each a version."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.fail: dict[tuple[str, str], list[ApiError]] = {}
        """Errors that the next calls raise, by verb and plural."""
        self.events: dict[str, list[object]] = {}
        """Events, by the uid of the object that they are about."""
        self.broken: dict[str | None, Exception] = {}
        """Error of every list, by namespace."""
        self.reads: list[tuple[str, str, str | None]] = []
        """Verb, plural, and namespace or name of each list, list of metadata, and find."""
        self.before: dict[tuple[str, str], Callable[[], object]] = {}
        """Function that is called once right before a call, by the call's verb and plural."""
        self._owners: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._version = itertools.count(100)
        self._uid = itertools.count(1)

    def add(self, resource: Resource, namespace: str, value: Mapping[str, Any]) -> Object:
        item: Object = copy.deepcopy(dict(value))
        metadata = item.setdefault("metadata", {})
        metadata |= {"namespace": namespace, "resourceVersion": str(next(self._version))}
        metadata.setdefault("uid", f"uid-{next(self._uid)}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self.objects[resource.plural, namespace, metadata["name"]] = item
        return copy.deepcopy(item)

    def uid(self, name: str, resource: Resource = EXPERIMENTS, namespace: str = "ns") -> str:
        return str(self._found(resource, namespace, name)["metadata"]["uid"])

    async def get(
        self, resource: Resource, namespace: str | None, name: str, *, purpose: CallPurpose = CallPurpose.RECONCILE
    ) -> Object:
        self._maybe_fail("get", resource)
        return copy.deepcopy(self._found(resource, namespace or "", name))

    async def list(
        self, resource: Resource, namespace: str | None = None, *, page_size: int = 2
    ) -> AsyncIterator[Page]:
        self.reads.append(("list", resource.plural, namespace))
        self._maybe_fail("list", resource)
        if namespace in self.broken:
            raise self.broken[namespace]
        items = [
            copy.deepcopy(item)
            for (plural, place, _), item in self.objects.items()
            if plural == resource.plural and namespace in (None, place)
        ]
        version = next(self._version)
        yield Page(items[:page_size], version)
        for start in range(page_size, len(items), page_size):
            self._maybe_fail("continue", resource)
            yield Page(items[start : start + page_size], version)

    async def list_metadata(self, resource: Resource, namespace: str | None = None) -> AsyncIterator[Page]:
        async for page in self.list(resource, namespace):
            if self.reads[-1][0] == "list":
                self.reads[-1] = ("list metadata", *self.reads[-1][1:])
            yield Page([{"kind": METADATA_ONLY, "metadata": item["metadata"]} for item in page.items], page.version)

    async def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        self.reads.append(("find", resource.plural, name))
        self._maybe_fail("find", resource)
        return copy.deepcopy(self.objects.get((resource.plural, namespace, name)))

    async def events_about(self, namespace: str, uid: str) -> Sequence[object]:
        self.reads.append(("list", "events", uid))
        self._maybe_fail("list", OBJECT_EVENTS)
        return self.events.get(uid, [])

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        purpose: CallPurpose = CallPurpose.RECONCILE,
    ) -> Object:
        self._maybe_fail("create", resource)
        name = body["metadata"]["name"]
        if (resource.plural, namespace or "", name) in self.objects:
            raise Conflict(409, "AlreadyExists", f"{resource.plural} {name!r} already exists")
        self.writes.append(("create", resource.plural, name))
        return self.add(resource, namespace or "", body)

    async def replace(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        purpose: CallPurpose = CallPurpose.RECONCILE,
    ) -> Object:
        self._maybe_fail("update", resource)
        old = self._found(resource, namespace, name)
        if body["metadata"].get("resourceVersion") not in (None, old["metadata"]["resourceVersion"]):
            raise Conflict(409, "Conflict", "the object has been modified")
        self.writes.append(("update", resource.plural, name))
        return self.add(resource, namespace, body)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str | None = None,
        propagation: str = "Foreground",
    ) -> Object | None:
        self._maybe_fail("delete", resource)
        found = self._found(resource, namespace, name)
        if found["metadata"]["uid"] != uid:
            raise Conflict(409, "Conflict", "the uid in the precondition does not match")
        if resource_version not in (None, found["metadata"]["resourceVersion"]):
            raise Conflict(409, "Conflict", "the resourceVersion in the precondition does not match")
        self.writes.append(("delete", resource.plural, name))
        if propagation == "Foreground":
            found["metadata"]["finalizers"] = ["foregroundDeletion"]
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"
            return self.add(resource, namespace, found)
        return self.objects.pop((resource.plural, namespace, name))

    async def apply_status(
        self, namespace: str, name: str, status: Mapping[str, Any], resource_version: str | int
    ) -> Object:
        """Apply a status; its owners decide whether a condition left out is removed, stays, or is an error."""
        self._maybe_fail("patch", EXPERIMENTS)
        found = self._found(EXPERIMENTS, namespace, name)
        self._check_version(found, resource_version)
        owners = self._owners.setdefault((namespace, name), {})
        stored = found.get("status", {})
        sent = {condition["type"] for condition in status.get("conditions", ())}
        missing = [condition for condition in stored.get("conditions", ()) if condition["type"] not in sent]
        if any(owners.get(condition["type"], set()) == {"apply", "patch"} for condition in missing):
            raise ApiError(422, "Invalid", "status.conditions[0].reason: Required value")
        stays = [condition for condition in missing if "apply" not in owners.get(condition["type"], set())]
        self._check_size([*status.get("conditions", ()), *stays])
        for kind in sent:
            owners.setdefault(kind, set()).add("apply")
        self.writes.append(("patch", "status", name))
        kept = {"progress": stored["progress"]} if "progress" in stored else {}
        found["status"] = {**status, **kept, "conditions": [*status.get("conditions", ()), *stays]}
        self._note_owners(found, owners)
        return {"metadata": self.add(EXPERIMENTS, namespace, found)["metadata"]}

    async def patch_conditions(
        self,
        namespace: str,
        name: str,
        conditions: Sequence[Mapping[str, Any]],
        resource_version: str | int,
        *,
        metadata_only: bool = False,
    ) -> Object:
        """Replace the conditions: their writer becomes an owner of changed ones, and the others are removed."""
        self._maybe_fail("merge", EXPERIMENTS)
        found = self._found(EXPERIMENTS, namespace, name)
        self._check_version(found, resource_version)
        owners = self._owners.setdefault((namespace, name), {})
        self._check_size(conditions)
        before = {condition["type"]: condition for condition in found.get("status", {}).get("conditions", ())}
        now = {condition["type"]: dict(condition) for condition in conditions}
        for kind in before.keys() - now.keys():
            owners.pop(kind, None)
        for kind in (kind for kind in now if now[kind] != before.get(kind)):
            owners.setdefault(kind, set()).add("patch")
        self.writes.append(("patch", "conditions", name))
        found["status"] = {**found.get("status", {}), "conditions": list(now.values())}
        self._note_owners(found, owners)
        return self.add(EXPERIMENTS, namespace, found)

    def belongs_to_another(self, namespace: str, name: str, kind: str) -> None:
        """Make another writer the owner of a condition."""
        self._owners.setdefault((namespace, name), {})[kind] = {"patch"}

    def _check_size(self, conditions: Sequence[Mapping[str, Any]]) -> None:
        if len(conditions) > MOST_CONDITIONS:
            many = f"Too many: {len(conditions)}: must have at most {MOST_CONDITIONS} items"
            raise ApiError(422, "Invalid", f"status.conditions: {many}")
        if len(json.dumps(conditions)) > MOST_BYTES:
            raise ApiError(500, "InternalError", "etcdserver: request is too large")

    def _check_version(self, found: Object, resource_version: str | int) -> None:
        if found["metadata"]["resourceVersion"] != str(resource_version):
            raise Conflict(409, "Conflict", "the object has been modified")

    def _note_owners(self, found: Object, owners: Mapping[str, set[str]]) -> None:
        writers = {"apply": (STATUS_MANAGER, "Apply"), "patch": (CONDITIONS_MANAGER, "Update")}
        found["metadata"]["managedFields"] = [
            {
                "manager": manager,
                "operation": operation,
                "fieldsV1": {
                    "f:status": {
                        "f:conditions": {f'k:{{"type":"{kind}"}}': {} for kind in owners if writer in owners[kind]}
                    }
                },
            }
            for writer, (manager, operation) in writers.items()
        ]

    async def apply_progress(self, namespace: str, name: str, progress: Mapping[str, Any] | None) -> Object:
        found = self._found(EXPERIMENTS, namespace, name)
        self.writes.append(("patch", "progress", name))
        status = {key: value for key, value in found.get("status", {}).items() if key != "progress"}
        found["status"] = {**status, **({"progress": dict(progress)} if progress else {})}
        return self.add(EXPERIMENTS, namespace, found)

    def _found(self, resource: Resource, namespace: str, name: str) -> Object:
        try:
            return self.objects[resource.plural, namespace, name]
        except KeyError:
            raise NotFound(404, "NotFound", f"{resource.plural} {name!r} not found") from None

    def _maybe_fail(self, verb: str, resource: Resource) -> None:
        self.before.pop((verb, resource.plural), lambda: None)()
        waiting = self.fail.get((verb, resource.plural))
        if waiting:
            raise waiting.pop(0)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


EXPERIMENT: Object = {
    "apiVersion": "maskrcnn.dev/v1alpha1",
    "kind": "MaskRCNNExperiment",
    "metadata": {"name": "nuclei", "uid": "exp-1", "generation": 1},
    "spec": {
        "workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}},
        "experiment": {
            "initLearningRate": 0.01,
            "learningRateSteps": [60],
            "learningRateDecayLevels": [0.1],
            "totalSteps": 100,
            "trainBatchSize": 1,
            "numExamplesPerEpoch": 10,
            "numStepsPerEval": 50,
            "checkpoint": "/workspace/resnet50.hdf5",
            "dataConfig": {
                "imageSize": [128, 128],
                "numClasses": 4,
                "trainingFilePattern": "/workspace/train*",
                "validationFilePattern": "/workspace/val*",
                "valJsonFile": "/workspace/val.json",
            },
            "maskrcnnConfig": {"nlayers": 50},
        },
        "steps": [{"name": "train", "train": {}, "nodes": 2}, {"name": "evaluate", "evaluate": {}}],
    },
}


@pytest.fixture
def experiment_object() -> Object:
    return copy.deepcopy(EXPERIMENT)
