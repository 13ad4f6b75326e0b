"""Why the pods of an attempt do not run yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.jobs.views import PodView

TEXT_LENGTH = 500

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
    "Unschedulable": Reason.UNSCHEDULABLE,
    "SchedulingGated": Reason.SCHEDULING_GATED,
}
"""The kubelet's and the scheduler's words; the first of a gang's, in this order, is told."""

_ORDER = tuple(dict.fromkeys(_MEANINGS.values()))


def waiting_reason(pods: Sequence[PodView], parallelism: int) -> tuple[str, str]:
    """One word of our vocabulary and a sentence; empty where the pods are just starting."""
    held = [(pod, _MEANINGS[pod.reason]) for pod in pods if not pod.running and pod.reason in _MEANINGS]
    if not held:
        return "", ""
    reason = min((meaning for _, meaning in held), key=_ORDER.index)
    alike = [pod for pod, meaning in held if meaning is reason]
    text = _text(pod.message for pod in alike)
    if parallelism > 1:
        text = f"{len(alike)} of {parallelism} pods: {text}" if text else f"{len(alike)} of {parallelism} pods"
    return reason.value, text


def _text(messages: Iterable[str]) -> str:
    # a pull that failed and the wait before the next say the same, with and without a beginning
    told = (message.partition("ErrImagePull: ")[2] or message for message in messages)
    return next((message.strip()[:TEXT_LENGTH] for message in told if message.strip()), "")
