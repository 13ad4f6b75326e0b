"""Inputs that a step reads from object stores."""

from __future__ import annotations

from collections.abc import Iterator

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.core.merge import paths_in, spec_paths
from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.spec.experiment import ExperimentSpec


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


def _inputs(step: Step, spec: ExperimentSpec | None) -> Iterator[str]:
    yield from (path for path in (step.model_path, *step.kind.inputs(step.task).values()) if path)
    if spec is not None:
        for field, paths in spec_paths(spec).items():
            yield from paths_in(field, paths)


def _is_in_a_store(path: str) -> bool:
    return is_url(path) and local_path(path) is None
