"""What a pod may speak for. Pure: the pod is proven by its token, everything else by owner references and the status.

Labels and annotations prove nothing, since whoever may create a pod may write them: they only say where to look.
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
    """The pod that a token was made for, as the API server vouches for it."""

    namespace: str
    pod_name: str
    pod_uid: str


@dataclass(frozen=True)
class Grant:
    """The one attempt at a step that a pod belongs to."""

    namespace: str
    experiment: str
    experiment_uid: str
    step: str
    attempt: int
    job_name: str


def peer_of(review: Mapping[str, Any], audience: str = TOKEN_AUDIENCE) -> Peer | ReportRefusal:
    """The pod that the ``status`` of a TokenReview speaks of."""
    if review.get("authenticated") is not True:
        return ReportRefusal(401, "TokenRejected", f"the token is not valid for the audience {audience}")
    if audience not in _texts(review, "audiences"):
        return ReportRefusal(401, "TokenRejected", f"the API server does not vouch for the audience {audience}")
    user = _part(review, "user")
    extra, username = _part(user, "extra"), user.get("username")
    names, uids = _texts(extra, _POD_NAME), _texts(extra, _POD_UID)
    if not isinstance(username, str) or not username.startswith(_SERVICE_ACCOUNT) or len(names) != 1 or len(uids) != 1:
        return ReportRefusal(403, "NotAPod", "the token is not bound to a pod: use the one that is projected into it")
    namespace = username.removeprefix(_SERVICE_ACCOUNT).partition(":")[0]
    return Peer(namespace, names[0], uids[0])


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _texts(value: Mapping[str, Any], name: str) -> list[str]:
    """Return a list of texts; nothing of it where another value is among them."""
    found = value.get(name)
    return found if isinstance(found, list) and all(isinstance(text, str) for text in found) else []


def authorise(  # noqa: PLR0911 - one way out for every link of the chain
    peer: Peer,
    report: Report,
    pod: PodView | None,
    job: JobView | None,
    experiment: MaskRCNNExperiment | None,
) -> Grant | ReportRefusal:
    """Which attempt a report is of: pod -> its controller, a Job -> its controller, the experiment -> its step.

    Args:
        pod: the pod of the peer's uid; None where none is known.
        job: the Job whose uid is that of the pod's controller.
        experiment: the experiment that the Job's label names.
    """
    if pod is None or (pod.namespace, pod.name) != (peer.namespace, peer.pod_name):
        return _forbidden("UnknownPod", f"pod {peer.namespace}/{peer.pod_name} is none of a step's")
    if job is None or job.uid != pod.job_uid or job.namespace != peer.namespace:
        return _forbidden("UnknownJob", f"pod {pod.name} is controlled by no Job of an experiment")
    owner = experiment.metadata if experiment is not None else None
    if experiment is None or owner is None or (owner.namespace, owner.uid) != (peer.namespace, job.experiment_uid):
        return _forbidden("UnknownExperiment", f"Job {job.name} is controlled by no experiment")
    step = next((step for step in experiment.status.steps if step.job_name == job.name), None)
    if step is None:
        return _forbidden("NotCurrent", f"Job {job.name} is not the newest attempt of a step")
    if step.state not in LIVE_STATES:
        return _forbidden("NotRunning", f"step {step.name} is {step.state}")
    contradiction = _contradiction(report, experiment, step, job)
    if contradiction:
        return _forbidden("NotYours", contradiction)
    return Grant(peer.namespace, experiment.name, owner.uid, step.name, step.attempt, job.name)


def speaks_for_current(grant: Grant, experiment: MaskRCNNExperiment | None) -> bool:
    """Whether the experiment's progress is that of the attempt that was granted."""
    if experiment is None or experiment.metadata.uid != grant.experiment_uid:
        return False
    step = experiment.status.step(grant.step)
    return (
        step is not None
        and (step.attempt, step.job_name) == (grant.attempt, grant.job_name)
        and step.state in LIVE_STATES
        and experiment.status.current_step == grant.step
    )


def _contradiction(report: Report, experiment: MaskRCNNExperiment, step: StepStatus, job: JobView) -> str:
    # an image of an older release names the fingerprint that it knows
    known = report.fingerprint in job.older_fingerprints
    said_and_true = (
        (SenderKey.EXPERIMENT_UID, report.experiment_uid, experiment.metadata.uid),
        (SenderKey.ATTEMPT, report.attempt, step.attempt),
        (SenderKey.FINGERPRINT, report.fingerprint, report.fingerprint if known else step.fingerprint),
    )
    for field, said, true in said_and_true:
        if said is not None and said != true:
            return f"{field}: the report says {said}, but the pod belongs to {true}"
    return ""


def _forbidden(reason: str, message: str) -> ReportRefusal:
    return ReportRefusal(403, reason, message)
