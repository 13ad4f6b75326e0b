"""What the Jobs of every experiment have in common: how this operator was installed."""

from __future__ import annotations

from dataclasses import dataclass, field

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.jobs.defaults import JobDefaults
from maskrcnn_operator.jobs.names import job_name

RENDEZVOUS_PORT = 23456
TOKEN_AUDIENCE = "maskrcnn-operator"  # noqa: S105 - whom the token is for


@dataclass(frozen=True)
class JobConfig:
    """What the Jobs of every experiment have in common.

    Attributes:
        default_image: trainer image of experiments that name none.
        report_url: address that running steps report to; None for no reports.
        report_ca: certificate in PEM that this address is checked against; None for the image's own authorities.
        defaults: what pods get whose experiment asks for nothing of its own.
        token_seconds: life of a reporting token, in seconds, at least 600; the kubelet renews it.
    """

    default_image: str | None = None
    report_url: str | None = None
    report_ca: str | None = None
    defaults: JobDefaults = field(default_factory=JobDefaults)
    token_seconds: int = 3600


def run_name(experiment: MaskRCNNExperiment, step: str, attempt: int) -> str:
    """The name of an attempt's Job; what ``core.plan.Settings.run_name`` is in a cluster."""
    return job_name(experiment.name, step, attempt, experiment.metadata.uid)
