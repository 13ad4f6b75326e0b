"""Settings of the installation that apply to the Jobs of all experiments of a namespace."""

from __future__ import annotations

from dataclasses import dataclass, field

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.jobs.defaults import JobDefaults
from maskrcnn_operator.jobs.names import job_name

RENDEZVOUS_PORT = 23456
TOKEN_AUDIENCE = "maskrcnn-operator"  # noqa: S105 - an audience


@dataclass(frozen=True)
class JobConfig:
    """Settings that apply to the Jobs of all experiments of a namespace.

    Attributes:
        default_image: trainer image of experiments that specify none.
        report_url: URL for the reports of running steps; None for no reports.
        report_ca: CA certificate in PEM by which the URL is verified; None for the CAs of the image.
        defaults: settings of pods whose experiment specifies none.
        owner_id: owner of results in object storage; None if it is unknown, in which case no Job with such results can
            be made.
        token_seconds: lifetime of a reporting token in seconds, at least 600; the kubelet renews it.
    """

    default_image: str | None = None
    report_url: str | None = None
    report_ca: str | None = None
    defaults: JobDefaults = field(default_factory=JobDefaults)
    owner_id: str | None = None
    token_seconds: int = 3600


def run_name(experiment: MaskRCNNExperiment, step: str, attempt: int) -> str:
    """Return the name of an attempt's Job: ``core.plan.Settings.run_name`` in a cluster."""
    return job_name(experiment.name, step, attempt, experiment.metadata.uid)
