"""Parts of a pod for its workspace: the volume of a claim, or with object storage a volume for unpublished results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.quantity import bytes_of
from maskrcnn_operator.api.workspace import ObjectStorageWorkspace, Workspace
from maskrcnn_operator.core.arguments import results_in_store_environment
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.core.reserved_volumes import SCRATCH_DIRECTORY, SCRATCH_VOLUME
from maskrcnn_trainer.shared.variables import SCRATCH_LIMIT_VARIABLE

CLAIM_VOLUME = "maskrcnn-workspace"


def workspace_environment(experiment: MaskRCNNExperiment, start: StartRun, owner_id: str | None) -> Mapping[str, str]:
    """Return the variables of a task whose results are in object storage; none for one with a claim.

    Args:
        experiment: with a valid spec.
        start: the attempt.
        owner_id: owner of the results of the experiment's namespace.

    Raises:
        ValueError: the workspace is in object storage, and the owner is unknown.
    """
    stored = experiment.spec.workspace.object_storage
    if stored is None:
        return {}
    if owner_id is None:
        raise ValueError(f"step {start.step}: the owner of results in object storage is unknown")
    values = results_in_store_environment(
        owner_id=owner_id,
        owner_namespace=experiment.metadata.namespace,
        working_dir=SCRATCH_DIRECTORY,
        input_fingerprints=start.input_fingerprints,
        take_over_from=stored.take_over_from,
    )
    limit = _scratch_limit(stored)
    return values if limit is None else {**values, SCRATCH_LIMIT_VARIABLE: str(bytes_of(limit))}


def workspace_volume(workspace: Workspace) -> dict[str, Any]:
    """Return the volume of the claim, or that of unpublished results."""
    if workspace.object_storage is None:
        return {"name": CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": workspace.claim_name}}
    limit = _scratch_limit(workspace.object_storage)
    return {"name": SCRATCH_VOLUME, "emptyDir": {"sizeLimit": limit} if limit is not None else {}}


def workspace_mount(workspace: Workspace) -> dict[str, Any]:
    """Return the mount of :func:`workspace_volume`."""
    if workspace.object_storage is not None:
        return {"name": SCRATCH_VOLUME, "mountPath": SCRATCH_DIRECTORY}
    mount = {"name": CLAIM_VOLUME, "mountPath": WORKSPACE_MOUNT}
    return {**mount, "subPath": workspace.sub_path} if workspace.sub_path else mount


def _scratch_limit(stored: ObjectStorageWorkspace) -> str | None:
    return stored.scratch.size_limit if stored.scratch is not None else None
