"""A step as a Job, and the Service by which the pods of a gang find each other."""

from __future__ import annotations

from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.jobs.config import JobConfig


def job_manifest(experiment: MaskRCNNExperiment, start: StartRun, config: JobConfig) -> dict[str, Any]:
    """The Job of an attempt, to be created by POST."""
    raise NotImplementedError


def service_manifest(experiment: MaskRCNNExperiment, step: str, config: JobConfig) -> dict[str, Any] | None:
    """The headless Service of a step of several nodes; None for one of one node."""
    raise NotImplementedError
