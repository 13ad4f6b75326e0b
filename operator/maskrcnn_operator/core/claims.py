"""Claims that the pods of an experiment mount: that of the workspace, if it has one, and that of the cache.

A claim that only one node can mount limits an experiment to one step at a time, and a step to one node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.core.desired import DesiredState
from maskrcnn_operator.core.plan import ReconcileContext


@dataclass(frozen=True)
class MountedClaim:
    """Claim that pods mount.

    Attributes:
        field: field of the manifest that names it.
        name: name of the claim.
        shared: whether several nodes can mount it; None if it does not exist or cannot be read.
        not_shared: reason of a step with several nodes if only one can mount it.
        steps: names of the steps whose pods mount it.
    """

    field: str
    name: str
    shared: bool | None
    not_shared: Reason
    steps: frozenset[str]


def cache_claim(experiment: MaskRCNNExperiment, desired: DesiredState) -> str | None:
    """Return the name of the cache's claim; None without one, and if no step reads from an object store."""
    cache = experiment.spec.cache
    if cache is None or cache.persistent_volume_claim is None or not desired.store_readers:
        return None
    return cache.persistent_volume_claim.claim_name


def mounted_claims(context: ReconcileContext) -> Iterator[MountedClaim]:
    """Yield the claims that the pods of an experiment mount."""
    experiment, desired, settings = context.experiment, context.desired, context.settings
    workspace = experiment.spec.workspace.claim_name
    if workspace is not None:
        yield MountedClaim(
            "spec.workspace.persistentVolumeClaim",
            workspace,
            settings.workspace_shared,
            Reason.WORKSPACE_NOT_SHARED,
            frozenset(step.name for step in experiment.spec.steps),
        )
    cache = cache_claim(experiment, desired)
    if cache is not None:
        yield MountedClaim(
            "spec.cache.persistentVolumeClaim",
            cache,
            settings.cache_shared,
            Reason.CACHE_NOT_SHARED,
            desired.store_readers,
        )
