"""What the access modes of the workspace's claim allow."""

from __future__ import annotations

from datetime import datetime, timedelta

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import Problem
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.readiness import Wait

LOOK_AGAIN = timedelta(seconds=30)
"""How often a claim that is not there is looked for; none of our watches tells when it comes."""


def problems_of_sharing(experiment: MaskRCNNExperiment, shared: bool | None) -> tuple[Problem, ...]:
    """Steps of several nodes, where the workspace can be mounted by one node only."""
    if shared is not False:
        return ()
    return tuple(
        Problem(
            f"spec.steps[{index}].nodes",
            f"found {step.nodes}, but the workspace can be mounted by one node only: use a ReadWriteMany claim",
            Reason.WORKSPACE_NOT_SHARED,
        )
        for index, step in enumerate(experiment.spec.steps)
        if step.nodes > 1
    )


def steps_at_a_time(settings: Settings) -> int | None:
    """How many steps may run side by side; None for any number."""
    return settings.max_parallel_steps if settings.workspace_shared else 1


def waits_for_the_claim(experiment: MaskRCNNExperiment, settings: Settings, now: datetime) -> Wait | None:
    """What every step waits for while nobody knows how the workspace may be mounted."""
    if settings.workspace_shared is not None:
        return None
    claim = experiment.spec.workspace.persistent_volume_claim.claim_name
    message = f"the PersistentVolumeClaim {claim} is not there, or cannot be read"
    return Wait(Reason.WAITING_FOR_CLAIM, message, now + LOOK_AGAIN)
