"""Authorization of a report: its token proves the pod, owner references and the status prove the rest. Pure.

Labels and annotations prove nothing, since any user who can create a pod can set them. They only help to find objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import LIVE_STATES, StepStatus
from maskrcnn_operator.jobs.config import TOKEN_AUDIENCE
from maskrcnn_operator.jobs.views import JobView, PodView
from maskrcnn_operator.progress_endpoint.refusal import ReportRefusal
from maskrcnn_operator.progress_endpoint.report import Report
from maskrcnn_trainer.shared.messages import SenderKey

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True)
class Peer:
    """Pod to which a token is bound, as confirmed by the API server."""

    namespace: str
    pod_name: str
    pod_uid: str


@dataclass(frozen=True)
class Grant:
    """Attempt at a step that a pod belongs to, and may report for."""

    namespace: str
    experiment: str
    experiment_uid: str
    step: str
    attempt: int
    job_name: str


def peer_of(review: Mapping[str, Any], audience: str = TOKEN_AUDIENCE) -> Peer | ReportRefusal:
    """Return the pod in the ``status`` of a TokenReview, or a refusal."""
    if review.get("authenticated") is not True:
        return ReportRefusal(401, "TokenRejected", f"the token isn't valid for the audience {audience}")
    if audience not in _texts(review, "audiences"):
        return ReportRefusal(401, "TokenRejected", f"the API server does not confirm the audience {audience}")
    user = _part(review, "user")
    extra, username = _part(user, "extra"), user.get("username")
    names, uids = _texts(extra, _POD_NAME), _texts(extra, _POD_UID)
    if not isinstance(username, str) or not username.startswith(_SERVICE_ACCOUNT) or len(names) != 1 or len(uids) != 1:
        return ReportRefusal(403, "NotAPod", "the token isn't bound to a pod; send the token projected into the pod")
    namespace = username.removeprefix(_SERVICE_ACCOUNT).partition(":")[0]
    return Peer(namespace, names[0], uids[0])


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(value: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of strings; an empty one if any of its values isn't a string."""
    found = value.get(name)
    return found if isinstance(found, list) and all(isinstance(text, str) for text in found) else []


def authorize(  # noqa: PLR0911 - one return for each link of the chain
    peer: Peer,
    report: Report,
    pod: PodView | None,
    job: JobView | None,
    experiment: MaskRCNNExperiment | None,
) -> Grant | ReportRefusal:
    """Return the attempt that a report belongs to, or a refusal.

    The chain is: pod -> its controller, a Job -> its controller, an experiment -> its step.

    Args:
        peer: pod that sent the report.
        report: the report.
        pod: the cached pod with the peer's uid; None if unknown.
        job: the cached Job with the uid of the pod's controller; None if unknown.
        experiment: the experiment that the Job's label names; None if unknown.
    """
    if pod is None or (pod.namespace, pod.name) != (peer.namespace, peer.pod_name):
        return _forbidden("UnknownPod", f"pod {peer.namespace}/{peer.pod_name} doesn't belong to an experiment step")
    if job is None or job.uid != pod.job_uid or job.namespace != peer.namespace:
        return _forbidden("UnknownJob", f"pod {pod.name} isn't controlled by a Job of an experiment")
    owner = experiment.metadata if experiment is not None else None
    if experiment is None or owner is None or (owner.namespace, owner.uid) != (peer.namespace, job.experiment_uid):
        return _forbidden("UnknownExperiment", f"Job {job.name} isn't controlled by an experiment")
    step = next((step for step in experiment.status.steps if step.job_name == job.name), None)
    if step is None:
        return _forbidden("NotCurrent", f"Job {job.name} isn't the newest attempt at a step")
    if step.state not in LIVE_STATES:
        return _forbidden("NotRunning", f"step {step.name} isn't running: its state is {step.state}")
    contradiction = _contradiction(report, experiment, step, job)
    if contradiction:
        return _forbidden("NotYours", contradiction)
    return Grant(peer.namespace, experiment.name, owner.uid, step.name, step.attempt, job.name)


def speaks_for_a_live_step(grant: Grant, experiment: MaskRCNNExperiment) -> bool:
    """Return whether the granted attempt is still the newest of its step, and live."""
    step = experiment.status.step(grant.step)
    return (
        experiment.metadata.uid == grant.experiment_uid
        and step is not None
        and (step.attempt, step.job_name) == (grant.attempt, grant.job_name)
        and step.state in LIVE_STATES
    )


def current_grant(experiment: MaskRCNNExperiment) -> Grant | None:
    """Return the attempt whose progress the experiment's status shows; None if none is live."""
    metadata, status = experiment.metadata, experiment.status
    step = status.step(status.current_step) if status.current_step is not None else None
    if step is None or step.state not in LIVE_STATES:
        return None
    return Grant(metadata.namespace, experiment.name, metadata.uid, step.name, step.attempt, step.job_name or "")


def _contradiction(report: Report, experiment: MaskRCNNExperiment, step: StepStatus, job: JobView) -> str:
    # an image of an older release reports the fingerprint of its release
    known = report.fingerprint in job.older_fingerprints
    claims = (
        (SenderKey.EXPERIMENT_UID, report.experiment_uid, experiment.metadata.uid),
        (SenderKey.ATTEMPT, report.attempt, step.attempt),
        (SenderKey.FINGERPRINT, report.fingerprint, report.fingerprint if known else step.fingerprint),
    )
    for field, reported, true in claims:
        if reported is not None and reported != true:
            return f"{field}: the report has {reported}, but the pod belongs to {true}"
    return ""


def _forbidden(reason: str, message: str) -> ReportRefusal:
    return ReportRefusal(403, reason, message)
