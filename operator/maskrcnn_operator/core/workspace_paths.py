"""Places in the workspace: paths below ``/workspace`` as pods use them, and URLs as the status shows them.

The status of an experiment in object storage shows the URL of what a path below ``/workspace`` stands for. That of an
experiment with a claim shows the path.
"""

from __future__ import annotations

from dataclasses import replace

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import Artifact
from maskrcnn_operator.api.workspace import Workspace


def workspace_place(workspace: Workspace) -> str | None:
    """Return the place that a status is about: the URL, or the claim's name with ``subPath`` after a slash.

    Returns:
        None if the workspace has no place, as that of a local run.
    """
    if workspace.object_storage is not None:
        return workspace.object_storage.url
    if workspace.claim_name is None:
        return None
    parts = [part for part in workspace.sub_path.split("/") if part not in ("", ".")]
    return "/".join((workspace.claim_name, *parts))


def shown_place(path: str, workspace: Workspace) -> str:
    """Return a path of a result as the status shows it; paths outside ``/workspace`` are unchanged."""
    if workspace.url is None or not _is_below(path, WORKSPACE_MOUNT):
        return path
    return workspace.url + path[len(WORKSPACE_MOUNT) :]


def mounted_place(shown: str, workspace: Workspace) -> str:
    """Return a place of the status as a path for a task; the inverse of :func:`shown_place`."""
    if workspace.url is None or not _is_below(shown, workspace.url):
        return shown
    return WORKSPACE_MOUNT + shown[len(workspace.url) :]


def shown_artifact(artifact: Artifact, workspace: Workspace) -> Artifact:
    """Return an artifact with its path as the status shows it."""
    path = shown_place(artifact.path, workspace)
    return artifact if path == artifact.path else replace(artifact, path=path)


def results_url(experiment: MaskRCNNExperiment, step: str) -> str | None:
    """Return the URL of a step's results; None if the workspace isn't in object storage."""
    url = experiment.spec.workspace.url
    return None if url is None else f"{url}/{experiment.name}/{step}"


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")
