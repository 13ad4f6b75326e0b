"""Volumes of pods for object storage, whose names and places no volume of podOverrides can take."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from maskrcnn_operator.api.base import WORKSPACE_MOUNT
from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.pod import PodOverrides
from maskrcnn_operator.api.pod_stores import STORES_DIRECTORY
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.core.overrides import overrides_of
from maskrcnn_operator.core.url_inputs import reads_stores
from maskrcnn_trainer.spec.experiment import ExperimentSpec

CACHE_VOLUME = "maskrcnn-cache"
CACHE_DIRECTORY = "/var/cache/maskrcnn"
STORE_VOLUMES = "maskrcnn-store-"
"""Beginning of the names of the Secrets' volumes."""
SCRATCH_VOLUME = "maskrcnn-scratch"
SCRATCH_DIRECTORY = "/scratch"
"""Directory of the pods for results that aren't published yet."""


def problems_of_volumes(
    experiment: MaskRCNNExperiment, step: Step, index: int, spec: ExperimentSpec | None
) -> Iterator[ManifestProblem]:
    """Yield the volumes and mounts of podOverrides that take the place of one for object storage.

    Args:
        experiment: with a valid spec.
        step: one of its steps.
        index: position of the step.
        spec: merged spec of the step; None for tasks that read none.
    """
    names: list[str] = []
    directories: list[str] = []
    if reads_stores(experiment, step, spec):
        names += [CACHE_VOLUME, f"{STORE_VOLUMES}N"]
        directories += [CACHE_DIRECTORY, STORES_DIRECTORY]
    if experiment.spec.workspace.url is not None:
        names += [SCRATCH_VOLUME]
        directories += [SCRATCH_DIRECTORY, WORKSPACE_MOUNT]
    overrides, own = overrides_of(experiment, step), step.pod_overrides or PodOverrides()
    for volume in overrides.volumes:
        name = volume.get("name")
        if isinstance(name, str) and any(_is_named(name, taken) for taken in names):
            yield ManifestProblem(
                f"{_place(index, of_step=volume in own.volumes)}.volumes",
                f"found {name}; names of volumes for object storage ({', '.join(names)}) are reserved: use another",
            )
    for mount in overrides.volume_mounts:
        path = mount.get("mountPath")
        if isinstance(path, str) and any(_is_below(path, taken) for taken in directories):
            yield ManifestProblem(
                f"{_place(index, of_step=mount in own.volume_mounts)}.volumeMounts",
                f"found {path}; {', '.join(directories)} are reserved for object storage: use another mountPath",
            )


def _is_named(name: str, taken: str) -> bool:
    return name.startswith(STORE_VOLUMES) if taken.startswith(STORE_VOLUMES) else name == taken


def _place(index: int, *, of_step: bool) -> str:
    return f"spec.steps[{index}].podOverrides" if of_step else "spec.podOverrides"


def _is_below(path: str, directory: str) -> bool:
    found = posixpath.normpath(path)
    return found == directory or found.startswith(f"{directory}/")
