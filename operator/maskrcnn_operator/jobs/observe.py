"""Jobs and their pods read back as runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.core.runs import Run
from maskrcnn_operator.jobs.views import JobView, PodView


@dataclass(frozen=True)
class Observation:
    """What there is of an experiment.

    Attributes:
        runs: its attempts.
        lingering: by step, which pods with its labels, of whatever uid, are not terminal and belong to no live run of
            this experiment; lost ones left out.
        wake_at: when to look again even if nothing happens; None for never.
    """

    runs: tuple[Run, ...] = ()
    lingering: Mapping[str, str] = field(default_factory=dict)
    wake_at: datetime | None = None


def observe(
    experiment: MaskRCNNExperiment, jobs: Sequence[JobView], pods: Sequence[PodView], now: datetime
) -> Observation:
    """The runs of an experiment.

    Args:
        jobs, pods: everything of its namespace that carries its name as a label, whatever its uid.
        now: aware.
    """
    raise NotImplementedError


def missing_jobs(experiment: MaskRCNNExperiment, jobs: Sequence[JobView]) -> tuple[str, ...]:
    """Names of the Jobs that the status counts on and ``jobs`` lacks: to be asked for before they count as vanished."""
    raise NotImplementedError
