"""Inputs by URL that overlap a workspace in object storage, whose files are read as ``/workspace/...`` only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_trainer.spec.errors import Path, dotted
from maskrcnn_trainer.spec.url_fields import SPEC_URLS, STEP_URLS
from maskrcnn_trainer.spec.workspace_urls import workspace_problem


def problems_of_workspace_url(experiment: MaskRCNNExperiment, workspace_url: str) -> Iterator[ManifestProblem]:
    """Yield the inputs by URL that lie below the URL of the workspace, equal it, or contain it.

    Args:
        experiment: with a valid spec.
        workspace_url: valid URL that ``/workspace`` stands for.
    """
    places: list[tuple[str, Any]] = [("spec.experiment", experiment.spec.experiment)]
    places += [(f"spec.steps[{index}].experiment", step.experiment) for index, step in enumerate(experiment.spec.steps)]
    tables = [(place, part, SPEC_URLS) for place, part in places]
    tables += [(f"spec.steps[{index}]", step, STEP_URLS) for index, step in enumerate(experiment.spec.steps)]
    for place, part, kinds in tables:
        for path, kind in kinds.items():
            given = _value(part, path)
            if isinstance(given, str) and (found := workspace_problem(given, workspace_url, kind)):
                yield ManifestProblem(f"{place}.{dotted(path)}", found)


def _value(part: Any, path: Path) -> Any:
    for name in path:
        part = getattr(part, str(name), None)
    return part
