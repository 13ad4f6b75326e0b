"""Reasons why the pods of an attempt do not run yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.api.text import one_line
from maskrcnn_operator.jobs.causes import (
    READ_EVERY,
    TEXT_LENGTH,
    WaitCause,
    job_subject,
    missing_pods,
    pod_subject,
    still_known,
)
from maskrcnn_operator.jobs.views import JobView, PodView

_MEANINGS: Mapping[str, Reason] = {
    "InvalidImageName": Reason.INVALID_IMAGE_NAME,
    "ErrImagePull": Reason.IMAGE_PULL_BACK_OFF,
    "ImagePullBackOff": Reason.IMAGE_PULL_BACK_OFF,
    "ErrImageNeverPull": Reason.IMAGE_PULL_BACK_OFF,
    "ImageInspectError": Reason.IMAGE_PULL_BACK_OFF,
    "RegistryUnavailable": Reason.IMAGE_PULL_BACK_OFF,
    "SignatureValidationFailed": Reason.IMAGE_PULL_BACK_OFF,
    "CreateContainerConfigError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "CreateContainerError": Reason.CREATE_CONTAINER_ERROR,
    "RunContainerError": Reason.CREATE_CONTAINER_ERROR,
    "CrashLoopBackOff": Reason.CRASH_LOOP_BACK_OFF,
    "Unschedulable": Reason.UNSCHEDULABLE,
    "SchedulingGated": Reason.SCHEDULING_GATED,
}
"""Our reason for each reason of the kubelet and the scheduler."""

_ORDER = (
    Reason.INVALID_IMAGE_NAME,
    Reason.IMAGE_PULL_BACK_OFF,
    Reason.CREATE_CONTAINER_CONFIG_ERROR,
    Reason.CREATE_CONTAINER_ERROR,
    Reason.CRASH_LOOP_BACK_OFF,
    Reason.FAILED_CREATE,
    Reason.FAILED_MOUNT,
    Reason.FAILED_ATTACH_VOLUME,
    Reason.FAILED_CREATE_POD_SANDBOX,
    Reason.UNSCHEDULABLE,
    Reason.SCHEDULING_GATED,
)
"""Order of precedence of the reasons in a worker group: errors that a user has to fix come before waits that may end by
themselves."""

_NOTHING: Mapping[str, WaitCause] = {}


def waiting_reason(
    job: JobView, pods: Sequence[PodView], now: datetime, causes: Mapping[str, WaitCause] = _NOTHING
) -> tuple[str, str]:
    """Return one of our reasons and a sentence; both are empty if the pods are just starting.

    Args:
        job: Job of the attempt.
        pods: all pods of the attempt.
        now: aware; a wait counts as long from :data:`READ_EVERY` on.
        causes: causes read from the events of Jobs and pods, by uid.
    """
    held = [found for pod in pods if not pod.terminal and not pod.running for found in _of_pod(pod, causes)]
    missing, cause = missing_pods(job, pods), still_known(job_subject(job, pods), causes)
    if missing and cause is not None and cause.reason is not None:
        held += [(cause.reason, cause.message)] * missing
    reasons = {reason for reason, _ in held if reason is not None}
    if not held or (not reasons and not any(text for _, text in held)):
        return "", _unexplained(job, pods, missing, now)
    reason = min(reasons, key=_ORDER.index, default=None)
    alike = [text for found, text in held if found is reason]
    text = _first(alike)
    if job.parallelism > 1:
        count = f"{len(alike)} of {job.parallelism} pods"
        text = f"{count}: {text}" if text else count
    return reason.value if reason is not None else "", text


def _of_pod(pod: PodView, causes: Mapping[str, WaitCause]) -> Iterable[tuple[Reason | None, str]]:
    """Yield the reason why a pod does not run, and a sentence, if known."""
    if pod.reason in _MEANINGS:
        # a failed pull and the wait before the next one have the same message, with and without this prefix
        message = one_line(pod.message.partition("ErrImagePull: ")[2] or pod.message, TEXT_LENGTH)
        if pod.waiting_container:
            where = f"container {pod.waiting_container}"
            message = f"{where}: {message}" if message else where
        yield _MEANINGS[pod.reason], message
        return
    cause = still_known(pod_subject(pod), causes) if pod.just_starts else None
    if cause is not None and cause.message:
        yield cause.reason, cause.message


def _unexplained(job: JobView, pods: Sequence[PodView], missing: int, now: datetime) -> str:
    """Return where to look for the cause of a long wait that no event or status explains; empty for a short one."""
    if missing and now >= job_subject(job, pods).since + READ_EVERY:
        return f"{job.parallelism - missing} of {job.parallelism} pods exist: see kubectl describe job {job.name}"
    for pod in pods:
        if pod.just_starts and now >= pod_subject(pod).since + READ_EVERY:
            return f"pod {pod.name} on node {pod.node}: {pod.reason or pod.phase}"
    return ""


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")
