"""The nine-step experiment in a cluster, and Jobs and pods in the form of an API server."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object

UID = "6f1c2d34-0000-4000-8000-000000000001"
MANIFEST = yaml.safe_load((Path(__file__).parents[1] / "core" / "nine_steps.yaml").read_text())

Change = Callable[[dict[str, Any]], object]
Make = Callable[..., MaskRCNNExperiment]


@pytest.fixture
def make() -> Make:
    """Return a function that makes the experiment, after changes of its spec, in the form of an API server."""

    def build(*changes: Change, uid: str = UID) -> MaskRCNNExperiment:
        manifest = copy.deepcopy(MANIFEST)
        manifest["metadata"] |= {"namespace": "lab", "uid": uid, "generation": 1}
        for change in changes:
            change(manifest["spec"])
        return read_object(manifest)

    return build


def at(seconds: float) -> datetime:
    """Return a time of these tests."""
    return datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(seconds=seconds)


def written(seconds: float) -> str:
    """Return :func:`at` in the format of an API server."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def job_object(
    step: str = "train",
    attempt: int = 1,
    *,
    uid: str | None = None,
    owner: str = UID,
    nodes: int = 1,
    suspend: bool = False,
    queue: str = "",
    start: float | None = 1,
    complete: float | None = None,
    failed: tuple[str, str] | None = None,
    conditions: tuple[tuple[str, str, str, float], ...] = (),
    deleted: float | None = None,
) -> dict[str, Any]:
    """Return a Job; ``conditions`` are (type, reason, message, time)."""
    told = list(conditions)
    if complete is not None:
        told.append(("Complete", "CompletionsReached", "Reached expected number of succeeded pods", complete))
    if failed is not None:
        told.append(("Failed", *failed, 100))
    labels = {
        "maskrcnn.dev/experiment": "nuclei",
        "maskrcnn.dev/step": step,
        "maskrcnn.dev/attempt": str(attempt),
        **({"kueue.x-k8s.io/queue-name": queue} if queue else {}),
    }
    status: dict[str, Any] = {
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": written(time)}
            for kind, reason, message, time in told
        ]
    }
    if start is not None:
        status["startTime"] = written(start)
    if complete is not None:
        status["completionTime"] = written(complete)
    metadata: dict[str, Any] = {
        "name": f"nuclei-{step}-{attempt}-abcde",
        "namespace": "lab",
        "uid": uid or f"job-{step}-{attempt}",
        "resourceVersion": "7",
        "creationTimestamp": written(0),
        "labels": labels,
        "annotations": {"maskrcnn.dev/fingerprint": f"{step}-v1", "maskrcnn.dev/experiment-uid": owner},
        "ownerReferences": [{"kind": "MaskRCNNExperiment", "name": "nuclei", "uid": owner, "controller": True}],
    }
    if deleted is not None:
        metadata["deletionTimestamp"] = written(deleted)
    container = {"name": "trainer", "image": "trainer:1"}
    return {
        "metadata": metadata,
        "spec": {"suspend": suspend, "parallelism": nodes, "template": {"spec": {"containers": [container]}}},
        "status": status,
    }


def pod_object(
    step: str = "train",
    attempt: int = 1,
    index: int = 0,
    *,
    job: str | None = None,
    owner: str = UID,
    name: str | None = None,
    node: str = "node-a",
    phase: str = "Running",
    code: int | None = None,
    said: str = "",
    ended: float | None = None,
    container_reason: str = "",
    waiting: tuple[str, str] | None = None,
    unschedulable: str = "",
    pod_reason: tuple[str, str] | None = None,
    disrupted: bool = False,
    ready: bool | None = None,
    deleted: float | None = None,
    created: float = 1,
    sidecar: str = "",
) -> dict[str, Any]:
    """Return a pod.

    ``waiting`` and ``pod_reason`` are (reason, message); ``sidecar`` is the state of its other container.
    """
    conditions = [{"type": "Ready", "status": str(phase == "Running" if ready is None else ready)}]
    if unschedulable:
        conditions.append(
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": unschedulable}
        )
    if disrupted:
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        conditions.append(target | {"message": "Eviction API: evicting"})
    state: dict[str, Any] = {}
    if code is not None:
        reason = container_reason or ("Completed" if code == 0 else "Error")
        state["terminated"] = {"exitCode": code, "reason": reason, "message": said, "finishedAt": written(ended or 50)}
        state["terminated"]["startedAt"] = written(created + 1)
    elif waiting is not None:
        state["waiting"] = {"reason": waiting[0], "message": waiting[1]}
    elif phase == "Running":
        state["running"] = {"startedAt": written(created + 1)}
    status: dict[str, Any] = {"phase": phase, "conditions": conditions}
    if state:
        other = {sidecar: {}} if sidecar else {}
        status["containerStatuses"] = [{"name": "sidecar", "state": other}, {"name": "trainer", "state": state}]
    if pod_reason is not None:
        status |= {"reason": pod_reason[0], "message": pod_reason[1]}
    metadata: dict[str, Any] = {
        "name": name or f"nuclei-{step}-{attempt}-{index}",
        "namespace": "lab",
        "uid": f"pod-{name or ''}-{step}-{attempt}-{index}",
        "creationTimestamp": written(created),
        "labels": {
            "maskrcnn.dev/experiment": "nuclei",
            "maskrcnn.dev/step": step,
            "maskrcnn.dev/attempt": str(attempt),
            "batch.kubernetes.io/job-completion-index": str(index),
        },
        "annotations": {"maskrcnn.dev/experiment-uid": owner, "maskrcnn.dev/fingerprint": f"{step}-v1"},
        "ownerReferences": [{"kind": "Job", "uid": job or f"job-{step}-{attempt}", "controller": True}],
    }
    if deleted is not None:
        metadata["deletionTimestamp"] = written(deleted)
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": status}
