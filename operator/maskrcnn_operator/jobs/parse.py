"""Parsers of Jobs, pods, and events from the API server.

Users can write these objects, and more users than those who can write experiments. No content makes a parser fail: a
value that isn't of the type that Kubernetes defines counts as absent, and numbers and texts are bounded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.base import KIND
from maskrcnn_operator.api.status import INT32_MAX, utc
from maskrcnn_operator.api.text import clean, one_line
from maskrcnn_operator.api.workspace import TAKE_OVER_FROM_LENGTH
from maskrcnn_operator.jobs.names import (
    ANNOTATION_EXPERIMENT_UID,
    ANNOTATION_FINGERPRINT,
    ANNOTATION_OLDER_FINGERPRINTS,
    ANNOTATION_TAKE_OVER_FROM,
    ANNOTATION_TEMPLATE,
    LABEL_ATTEMPT,
    LABEL_EXPERIMENT,
    LABEL_QUEUE,
    LABEL_STEP,
)
from maskrcnn_operator.jobs.views import (
    CONTAINER_NAME,
    JUST_STARTS,
    OOM_KILLED,
    TERMINAL_PHASES,
    EventView,
    JobCondition,
    JobView,
    PodView,
)

_INDEX = "batch.kubernetes.io/job-completion-index"

NAME_LENGTH = 253
"""Most characters of a name, a uid, a label's value, or a reason: the longest name that Kubernetes accepts."""
IMAGE_LENGTH = 1024
MESSAGE_LENGTH = 4096
"""Most characters of a message: a termination message has at most 4,096 bytes; longer messages of conditions are
cut."""
_CONDITIONS = 64
_ITEMS = 1024
"""Most entries that are read of any list but conditions."""

JsonObject = Mapping[str, object]
"""Object as the API server sent it: its values may have any type."""


def job_view(value: object) -> JobView:
    """Return the view of a Job from the API server; raises nothing, for any value."""
    metadata, spec, status = _part(value, "metadata"), _part(value, "spec"), _part(value, "status")
    labels, annotations = _part(metadata, "labels"), _part(metadata, "annotations")
    return JobView(
        uid=_text(metadata.get("uid")),
        name=_text(metadata.get("name")),
        namespace=_shared(metadata.get("namespace")),
        resource_version=_text(metadata.get("resourceVersion")),
        experiment=_shared(labels.get(LABEL_EXPERIMENT)),
        step=_shared(labels.get(LABEL_STEP)),
        attempt=_number(labels.get(LABEL_ATTEMPT)),
        experiment_uid=_controller(metadata, KIND),
        fingerprint=_shared(annotations.get(ANNOTATION_FINGERPRINT)),
        older_fingerprints=tuple(_text(annotations.get(ANNOTATION_OLDER_FINGERPRINTS)).split()),
        template=_shared(annotations.get(ANNOTATION_TEMPLATE)),
        take_over_from=clean(annotations.get(ANNOTATION_TAKE_OVER_FROM), TAKE_OVER_FROM_LENGTH),
        image=_image(spec),
        queue=_shared(labels.get(LABEL_QUEUE)),
        suspended=spec.get("suspend") is True,
        conditions=tuple(
            JobCondition(
                _shared(item.get("type")),
                _shared(item.get("reason")),
                clean(item.get("message"), MESSAGE_LENGTH),
                _time(item.get("lastTransitionTime")),
            )
            for item in _entries(status, "conditions", _CONDITIONS)
            if item.get("status") == "True"
        ),
        start_time=_time(status.get("startTime")),
        completion_time=_time(status.get("completionTime")),
        creation=_time(metadata.get("creationTimestamp")),
        deletion_timestamp=_time(metadata.get("deletionTimestamp")),
        parallelism=max(1, _int32(spec.get("parallelism")) or 1),
    )


def pod_view(value: object) -> PodView:
    """Return the view of a pod from the API server; raises nothing, for any value."""
    metadata, spec, status = _part(value, "metadata"), _part(value, "spec"), _part(value, "status")
    labels, annotations = _part(metadata, "labels"), _part(metadata, "annotations")
    conditions = {_text(item.get("type")): item for item in _entries(status, "conditions", _CONDITIONS)}
    state = _part(_container_status(status), "state")
    kind = next((name for name in ("terminated", "running", "waiting") if name in state), "")
    details = _part(state, kind)
    ended: JsonObject = details if kind == "terminated" else {}
    reason, message = _why(status, conditions, kind, details)
    waiting_container = ""
    if kind != "terminated" and reason in JUST_STARTS:
        waiting_container, reason, message = _waiting_sidecar(status) or ("", reason, message)
    return PodView(
        uid=_text(metadata.get("uid")),
        name=_text(metadata.get("name")),
        namespace=_shared(metadata.get("namespace")),
        resource_version=_text(metadata.get("resourceVersion")),
        experiment=_shared(labels.get(LABEL_EXPERIMENT)),
        step=_shared(labels.get(LABEL_STEP)),
        attempt=_number(labels.get(LABEL_ATTEMPT)),
        experiment_uid=_shared(annotations.get(ANNOTATION_EXPERIMENT_UID)),
        fingerprint=_shared(annotations.get(ANNOTATION_FINGERPRINT)),
        older_fingerprints=tuple(_text(annotations.get(ANNOTATION_OLDER_FINGERPRINTS)).split()),
        template=_shared(annotations.get(ANNOTATION_TEMPLATE)),
        job_uid=_controller(metadata, "Job"),
        index=_number(labels.get(_INDEX)),
        node=_shared(spec.get("nodeName")),
        scheduled=_scheduled(conditions),
        waiting_container=waiting_container,
        phase=_shared(status.get("phase")) or "Pending",
        ready=_is_true(conditions, "Ready"),
        container_state=kind,
        container_exit_code=_int32(ended.get("exitCode")),
        accompanied=_another_container_runs(status),
        termination_message=clean(ended.get("message"), MESSAGE_LENGTH),
        disrupted=_is_true(conditions, "DisruptionTarget"),
        reason=reason,
        message=message,
        creation=_time(metadata.get("creationTimestamp")),
        started_at=_time(details.get("startedAt")) if kind != "waiting" else None,
        finished_at=_time(ended.get("finishedAt")),
        deletion_timestamp=_time(metadata.get("deletionTimestamp")),
    )


def event_view(value: object) -> EventView:
    """Return the view of a core/v1 event; raises nothing, for any value."""
    series = _part(value, "series")
    event = value if isinstance(value, Mapping) else {}
    # there are two libraries that record events: one writes lastTimestamp, the other eventTime and series
    times = (_time(series.get("lastObservedTime")), _time(event.get("lastTimestamp")), _time(event.get("eventTime")))
    return EventView(
        warning=event.get("type") == "Warning",
        reason=one_line(event.get("reason"), NAME_LENGTH),
        message=one_line(event.get("message"), MESSAGE_LENGTH),
        time=next((time for time in times if time is not None), None),
    )


def _why(status: JsonObject, conditions: Mapping[str, JsonObject], kind: str, details: JsonObject) -> tuple[str, str]:
    """Return reason and message of the pod, else of its scheduling, else of its container."""
    reason, message = _reason_and_message(status)
    scheduled = conditions.get("PodScheduled") or {}
    if kind == "terminated":
        # a disruption of the whole pod is the cause of the end of its container
        ended = _reason_and_message(details)[0]
        if not reason and ended != OOM_KILLED and _is_true(conditions, "DisruptionTarget"):
            return _reason_and_message(conditions["DisruptionTarget"])
        return reason or ended, message
    if reason:
        return reason, message
    if scheduled.get("status") == "False":
        return _reason_and_message(scheduled)
    return _reason_and_message(details) if kind == "waiting" else ("", "")


def _reason_and_message(part: JsonObject) -> tuple[str, str]:
    return _shared(part.get("reason")), clean(part.get("message"), MESSAGE_LENGTH)


def _another_container_runs(status: JsonObject) -> bool:
    return any(
        item.get("name") != CONTAINER_NAME and "running" in _part(item, "state")
        for item in _entries(status, "containerStatuses", _ITEMS)
    )


def _container_status(status: JsonObject) -> JsonObject:
    statuses = _entries(status, "containerStatuses", _ITEMS)
    return next((item for item in statuses if item.get("name") == CONTAINER_NAME), {})


def _part(value: object, name: str) -> JsonObject:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _entries(value: JsonObject, name: str, most: int) -> Sequence[JsonObject]:
    """Return the objects in a list; none if the value isn't a list."""
    found = value.get(name)
    return [item for item in found[:most] if isinstance(item, Mapping)] if isinstance(found, list | tuple) else ()


def _text(value: object) -> str:
    return clean(value, NAME_LENGTH)


def _shared(value: object) -> str:
    # many objects have the same texts: interning keeps each of them once for thousands of experiments
    return sys.intern(clean(value, NAME_LENGTH))


def _number(text: object) -> int:
    """Return the whole number in a text; 0 if there is none, or one that Kubernetes would not accept."""
    if not isinstance(text, str) or len(text) > 10 or not (text.isascii() and text.isdecimal()):
        return 0
    return number if (number := int(text)) <= INT32_MAX else 0


def _int32(value: object) -> int | None:
    return value if type(value) is int and -INT32_MAX <= value <= INT32_MAX else None


def _controller(metadata: JsonObject, kind: str) -> str:
    for owner in _entries(metadata, "ownerReferences", _ITEMS):
        if owner.get("controller") is True and owner.get("kind") == kind:
            return _shared(owner.get("uid"))
    return ""


def _image(spec: JsonObject) -> str | None:
    containers = _entries(_part(_part(spec, "template"), "spec"), "containers", _ITEMS)
    trainer = next((item for item in containers if item.get("name") == CONTAINER_NAME), None)
    return sys.intern(clean(trainer.get("image"), IMAGE_LENGTH)) or None if trainer is not None else None


def _waiting_sidecar(status: JsonObject) -> tuple[str, str, str] | None:
    """Return name, reason, and message of the first init container or sidecar that waits for a stated reason."""
    if _text(status.get("phase")) in TERMINAL_PHASES:
        return None
    for part in ("initContainerStatuses", "containerStatuses"):
        for item in _entries(status, part, _ITEMS):
            reason, message = _reason_and_message(_part(_part(item, "state"), "waiting"))
            if item.get("name") != CONTAINER_NAME and reason not in JUST_STARTS:
                return _shared(item.get("name")), reason, message
    return None


def _scheduled(conditions: Mapping[str, JsonObject]) -> datetime | None:
    condition = conditions.get("PodScheduled") or {}
    return _time(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None


def _is_true(conditions: Mapping[str, JsonObject], kind: str) -> bool:
    return (conditions.get(kind) or {}).get("status") == "True"


def _time(text: object) -> datetime | None:
    try:
        return utc(datetime.fromisoformat(text)) if isinstance(text, str) and text else None
    except ValueError:
        return None
