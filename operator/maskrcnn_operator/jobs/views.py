"""What is kept of a Job and of a pod: the few fields that decide something, in small frozen objects."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maskrcnn_operator.api.base import KIND
from maskrcnn_operator.jobs.names import (
    ANNOTATION_EXPERIMENT_UID,
    ANNOTATION_FINGERPRINT,
    LABEL_ATTEMPT,
    LABEL_EXPERIMENT,
    LABEL_QUEUE,
    LABEL_STEP,
)

CONTAINER_NAME = "trainer"
_INDEX = "batch.kubernetes.io/job-completion-index"
_TERMINAL_PHASES = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class JobCondition:
    """A condition of a Job that is True."""

    type: str
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job.

    Attributes:
        experiment, step, attempt: of its labels; attempt is 0 where the label is no number.
        experiment_uid: of its controller, where that is an experiment; empty otherwise; labels prove nothing.
        queue: Kueue LocalQueue; empty without one.
        conditions: those that are True.
        start_time: when it was started or last admitted; None while it is suspended.
    """

    uid: str
    name: str
    namespace: str
    resource_version: str = ""
    experiment: str = ""
    step: str = ""
    attempt: int = 0
    experiment_uid: str = ""
    fingerprint: str = ""
    image: str | None = None
    queue: str = ""
    suspended: bool = False
    conditions: tuple[JobCondition, ...] = ()
    start_time: datetime | None = None
    completion_time: datetime | None = None
    creation: datetime | None = None
    deletion_timestamp: datetime | None = None
    parallelism: int = 1

    def condition(self, kind: str) -> JobCondition | None:
        """The condition of type ``kind`` if it is True."""
        return next((condition for condition in self.conditions if condition.type == kind), None)

    @property
    def finished(self) -> bool:
        """Whether it is Complete or Failed."""
        return any(condition.type in ("Complete", "Failed") for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of a step.

    Attributes:
        experiment, step, attempt: of its labels; attempt is 0 where the label is no number.
        experiment_uid: of its annotation; the proof is the controller of its Job.
        job_uid: of its controller, where that is a Job; empty otherwise.
        index: its completion index; 0 for a Job of one pod.
        container_state: of the container that runs the task: waiting, running, terminated or empty.
        exit_code: of that container; None while it has not ended.
        disrupted: whether its condition DisruptionTarget is True.
        reason, message: why it waits (ImagePullBackOff, Unschedulable, ...) or how it ended (OOMKilled, Evicted, ...).
        deletion_timestamp: when it should be gone: the time of its deletion plus its grace period.
    """

    uid: str
    name: str
    namespace: str
    resource_version: str = ""
    experiment: str = ""
    step: str = ""
    attempt: int = 0
    experiment_uid: str = ""
    fingerprint: str = ""
    job_uid: str = ""
    index: int = 0
    node: str = ""
    phase: str = "Pending"
    ready: bool = False
    container_state: str = ""
    exit_code: int | None = None
    termination_message: str = ""
    disrupted: bool = False
    reason: str = ""
    message: str = ""
    creation: datetime | None = None
    finished_at: datetime | None = None
    deletion_timestamp: datetime | None = None

    @property
    def terminal(self) -> bool:
        """Whether none of its processes can run any more."""
        return self.phase in _TERMINAL_PHASES

    @property
    def running(self) -> bool:
        """Whether its task runs (also while its node does not answer), or has run to a good end."""
        return self.phase == "Succeeded" or (
            self.phase == "Running" and (self.ready or self.container_state == "running")
        )


def job_view(value: Mapping[str, Any]) -> JobView:
    """What is kept of a Job, an object as the API server gives it."""
    metadata, spec, status = _part(value, "metadata"), _part(value, "spec"), _part(value, "status")
    labels, annotations = _part(metadata, "labels"), _part(metadata, "annotations")
    return JobView(
        uid=metadata.get("uid", ""),
        name=metadata.get("name", ""),
        namespace=_shared(metadata.get("namespace")),
        resource_version=metadata.get("resourceVersion", ""),
        experiment=_shared(labels.get(LABEL_EXPERIMENT)),
        step=_shared(labels.get(LABEL_STEP)),
        attempt=_number(labels.get(LABEL_ATTEMPT)),
        experiment_uid=_controller(metadata, KIND),
        fingerprint=_shared(annotations.get(ANNOTATION_FINGERPRINT)),
        image=_image(spec),
        queue=_shared(labels.get(LABEL_QUEUE)),
        suspended=bool(spec.get("suspend")),
        conditions=tuple(
            JobCondition(
                item.get("type", ""),
                item.get("reason") or "",
                item.get("message") or "",
                _time(item.get("lastTransitionTime")),
            )
            for item in status.get("conditions") or ()
            if item.get("status") == "True"
        ),
        start_time=_time(status.get("startTime")),
        completion_time=_time(status.get("completionTime")),
        creation=_time(metadata.get("creationTimestamp")),
        deletion_timestamp=_time(metadata.get("deletionTimestamp")),
        parallelism=spec.get("parallelism") or 1,
    )


def pod_view(value: Mapping[str, Any]) -> PodView:
    """What is kept of a pod, an object as the API server gives it."""
    metadata, spec, status = _part(value, "metadata"), _part(value, "spec"), _part(value, "status")
    labels, annotations = _part(metadata, "labels"), _part(metadata, "annotations")
    conditions = {item.get("type"): item for item in status.get("conditions") or ()}
    container = _container_status(status)
    state = _part(container, "state")
    kind = next((name for name in ("terminated", "running", "waiting") if name in state), "")
    details = _part(state, kind)
    ended = details if kind == "terminated" else {}
    reason, message = _why(status, conditions, kind, details)
    return PodView(
        uid=metadata.get("uid", ""),
        name=metadata.get("name", ""),
        namespace=_shared(metadata.get("namespace")),
        resource_version=metadata.get("resourceVersion", ""),
        experiment=_shared(labels.get(LABEL_EXPERIMENT)),
        step=_shared(labels.get(LABEL_STEP)),
        attempt=_number(labels.get(LABEL_ATTEMPT)),
        experiment_uid=_shared(annotations.get(ANNOTATION_EXPERIMENT_UID)),
        fingerprint=_shared(annotations.get(ANNOTATION_FINGERPRINT)),
        job_uid=_controller(metadata, "Job"),
        index=_number(labels.get(_INDEX) or annotations.get(_INDEX)),
        node=_shared(spec.get("nodeName")),
        phase=_shared(status.get("phase")) or "Pending",
        ready=_is_true(conditions, "Ready"),
        container_state=kind,
        exit_code=ended.get("exitCode"),
        termination_message=ended.get("message") or "",
        disrupted=_is_true(conditions, "DisruptionTarget"),
        reason=reason,
        message=message,
        creation=_time(metadata.get("creationTimestamp")),
        finished_at=_time(ended.get("finishedAt")),
        deletion_timestamp=_time(metadata.get("deletionTimestamp")),
    )


def _why(
    status: Mapping[str, Any], conditions: Mapping[Any, Mapping[str, Any]], kind: str, details: Mapping[str, Any]
) -> tuple[str, str]:
    scheduled = conditions.get("PodScheduled") or {}
    if kind == "terminated":
        # what the kubelet did to the whole pod says more than what became of its container
        return status.get("reason") or details.get("reason") or "", status.get("message") or ""
    if status.get("reason"):
        return status["reason"], status.get("message") or ""
    if scheduled.get("status") == "False":
        return scheduled.get("reason") or "", scheduled.get("message") or ""
    return (details.get("reason") or "", details.get("message") or "") if kind == "waiting" else ("", "")


def _container_status(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        (item for item in status.get("containerStatuses") or () if item.get("name") == CONTAINER_NAME), {}
    )
    return found


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return value.get(name) or {}


def _shared(text: Any) -> str:
    # many objects carry the same words; with thousands of experiments they are kept once
    return sys.intern(text) if isinstance(text, str) else ""


def _number(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() else 0


def _controller(metadata: Mapping[str, Any], kind: str) -> str:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") == kind:
            return _shared(owner.get("uid"))
    return ""


def _image(spec: Mapping[str, Any]) -> str | None:
    containers = _part(_part(spec, "template"), "spec").get("containers") or ()
    return next((_shared(item.get("image")) or None for item in containers if item.get("name") == CONTAINER_NAME), None)


def _is_true(conditions: Mapping[Any, Mapping[str, Any]], kind: str) -> bool:
    return (conditions.get(kind) or {}).get("status") == "True"


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
