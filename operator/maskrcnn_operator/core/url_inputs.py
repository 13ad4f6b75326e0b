"""Inputs that a step reads from object stores."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.pod import PodOverrides
from maskrcnn_operator.api.pod_stores import STORES_DIRECTORY
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.core.merge import paths_in, spec_paths
from maskrcnn_operator.core.overrides import overrides_of
from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.spec.experiment import ExperimentSpec

CACHE_VOLUME = "maskrcnn-cache"
CACHE_DIRECTORY = "/var/cache/maskrcnn"
STORE_VOLUMES = "maskrcnn-store-"
"""Beginning of the names of the Secrets' volumes."""


def reads_stores(experiment: MaskRCNNExperiment, step: Step, spec: ExperimentSpec | None) -> bool:
    """Return whether the pods of a step get the stores and a cache.

    They do if the workspace is in object storage, if the step names a URL of an object store, or if the experiment has
    stores, because the results of other steps may name URLs.

    Args:
        experiment: with a valid spec.
        step: one of its steps.
        spec: merged spec of the step; None for tasks that read none.
    """
    if experiment.spec.workspace.url is not None or experiment.spec.object_stores:
        return True
    return any(map(_is_in_a_store, _inputs(step, spec)))


def problems_of_volumes(
    experiment: MaskRCNNExperiment, step: Step, index: int, spec: ExperimentSpec | None
) -> Iterator[ManifestProblem]:
    """Yield the volumes and mounts of podOverrides that take the place of the stores or the cache of a step.

    Args:
        experiment: with a valid spec.
        step: one of its steps.
        index: position of the step.
        spec: merged spec of the step; None for tasks that read none.
    """
    if not reads_stores(experiment, step, spec):
        return
    overrides, own = overrides_of(experiment, step), step.pod_overrides or PodOverrides()
    for volume in overrides.volumes:
        name = volume.get("name")
        if isinstance(name, str) and (name == CACHE_VOLUME or name.startswith(STORE_VOLUMES)):
            yield ManifestProblem(
                f"{_place(index, of_step=volume in own.volumes)}.volumes",
                f"found {name}; names for inputs by URL ({CACHE_VOLUME}, {STORE_VOLUMES}N) are reserved: use another",
            )
    for mount in overrides.volume_mounts:
        path = mount.get("mountPath")
        if isinstance(path, str) and any(_is_below(path, taken) for taken in (CACHE_DIRECTORY, STORES_DIRECTORY)):
            yield ManifestProblem(
                f"{_place(index, of_step=mount in own.volume_mounts)}.volumeMounts",
                f"found {path}; {CACHE_DIRECTORY} and {STORES_DIRECTORY} are reserved for inputs by URL: use another "
                "mountPath",
            )


def _inputs(step: Step, spec: ExperimentSpec | None) -> Iterator[str]:
    yield from (path for path in (step.model_path, *step.kind.inputs(step.task).values()) if path)
    if spec is not None:
        for field, paths in spec_paths(spec).items():
            yield from paths_in(field, paths)


def _is_in_a_store(path: str) -> bool:
    return is_url(path) and local_path(path) is None


def _place(index: int, *, of_step: bool) -> str:
    return f"spec.steps[{index}].podOverrides" if of_step else "spec.podOverrides"


def _is_below(path: str, directory: str) -> bool:
    found = posixpath.normpath(path)
    return found == directory or found.startswith(f"{directory}/")
