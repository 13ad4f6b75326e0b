"""Facts of a recorded history: the state of an experiment, a Job, or a pod at one resourceVersion.

All kinds of a bed are in one etcd, so their resourceVersions have the order of the writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

LABEL = "maskrcnn.dev"
SUCCEEDED = "Succeeded"
_JOB_ENDINGS = frozenset({"Complete", "SuccessCriteriaMet", "Failed", "FailureTarget"})
_POD_ENDINGS = frozenset({"Succeeded", "Failed"})
_LONGEST_NUMBER = 9

Object = Mapping[str, Any]


class Kind(StrEnum):
    """Kinds whose history is recorded."""

    EXPERIMENT = "experiment"
    JOB = "job"
    POD = "pod"


@dataclass(frozen=True)
class StepFact:
    """One step in the status of an experiment."""

    name: str
    state: str
    attempt: int
    fingerprint: str


@dataclass(frozen=True)
class ExperimentFact:
    """An experiment with its status.

    Attributes:
        name: ``namespace/name``.
        conditions: status by type.
        reason: of the condition Ready.
        generation: of the spec.
        observed: generation of the spec from which the status was computed.
        gone: whether it has been deleted; the other attributes are its last state.
    """

    version: int
    uid: str
    name: str
    steps: tuple[StepFact, ...] = ()
    conditions: Mapping[str, str] | None = None
    reason: str = ""
    generation: int = 1
    observed: int = 1
    gone: bool = False


@dataclass(frozen=True)
class JobFact:
    """The Job of one attempt.

    Attributes:
        experiment: ``namespace/name`` of the experiment that controls it.
        live: whether it exists, is not being deleted, and has no ending condition.
        kept: whether it exists and is not being deleted.
    """

    version: int
    uid: str
    name: str
    experiment: str
    experiment_uid: str
    step: str
    attempt: int
    fingerprint: str
    live: bool
    kept: bool = True


@dataclass(frozen=True)
class PodFact:
    """A pod of a Job.

    Attributes:
        live: whether it exists and has not ended, so that a process may run in it.
        result_of: fingerprint of the result that its successful trainer reported, else ``""``.
    """

    version: int
    uid: str
    name: str
    job_uid: str
    live: bool
    result_of: str = ""


Fact = ExperimentFact | JobFact | PodFact


def read_fact(kind: Kind, item: Object, *, gone: bool = False) -> Fact | None:
    """Return the fact that an object of the API server represents; None if it isn't the operator's or its Job's."""
    if kind is Kind.EXPERIMENT:
        return _experiment(item, gone)
    return _job(item, gone) if kind is Kind.JOB else _pod(item, gone)


def _experiment(item: Object, gone: bool) -> ExperimentFact:
    metadata, status = item["metadata"], item.get("status") or {}
    conditions = status.get("conditions") or ()
    return ExperimentFact(
        version=int(metadata["resourceVersion"]),
        uid=metadata["uid"],
        name=f"{metadata['namespace']}/{metadata['name']}",
        steps=tuple(
            StepFact(step["name"], step.get("state") or "", step.get("attempt") or 0, step.get("fingerprint") or "")
            for step in status.get("steps") or ()
        ),
        conditions={condition["type"]: condition["status"] for condition in conditions},
        reason=next((condition["reason"] for condition in conditions if condition["type"] == "Ready"), ""),
        generation=metadata.get("generation") or 1,
        observed=status.get("observedGeneration") or 0,
        gone=gone,
    )


def _job(item: Object, gone: bool) -> JobFact | None:
    metadata = item["metadata"]
    owner = _controller(metadata, "MaskRCNNExperiment")
    if owner is None:
        return None
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = (item.get("status") or {}).get("conditions") or ()
    ended = any(condition["type"] in _JOB_ENDINGS and condition["status"] == "True" for condition in conditions)
    kept = not gone and "deletionTimestamp" not in metadata
    return JobFact(
        version=int(metadata["resourceVersion"]),
        uid=metadata["uid"],
        name=f"{metadata['namespace']}/{metadata['name']}",
        experiment=f"{metadata['namespace']}/{owner['name']}",
        experiment_uid=owner["uid"],
        step=labels.get(f"{LABEL}/step", ""),
        attempt=_number(labels.get(f"{LABEL}/attempt")),
        fingerprint=annotations.get(f"{LABEL}/fingerprint", ""),
        live=kept and not ended,
        kept=kept,
    )


def _pod(item: Object, gone: bool) -> PodFact | None:
    metadata, phase = item["metadata"], (item.get("status") or {}).get("phase")
    owner = _controller(metadata, "Job")
    if owner is None:
        return None
    return PodFact(
        version=int(metadata["resourceVersion"]),
        uid=metadata["uid"],
        name=f"{metadata['namespace']}/{metadata['name']}",
        job_uid=owner["uid"],
        live=not gone and phase not in _POD_ENDINGS,
        result_of=_result_of(item),
    )


def _controller(metadata: Object, kind: str) -> Object | None:
    owners = metadata.get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller") and owner.get("kind") == kind), None)


def _result_of(pod: Object) -> str:
    """Return the fingerprint in the message of a container that succeeded; a sidecar may still run, or have failed."""
    for container in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode") != 0:
            continue
        try:
            result = json.loads(ended.get("message") or "")
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict) and result.get("code") == 0 and isinstance(result.get("fingerprint"), str):
            return str(result["fingerprint"])
    return ""


def _number(text: str | None) -> int:
    # A label may have more digits than Python converts.
    return int(text) if text and len(text) <= _LONGEST_NUMBER and text.isascii() and text.isdecimal() else 0
