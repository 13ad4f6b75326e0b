"""Problems of the URLs in a manifest: those of inputs, and those of the stores through which they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.pod_stores import size_problem, stores_of_pods
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.object_stores import store_problems
from maskrcnn_trainer.spec.url_fields import STEP_URLS, input_problem


def url_problems(experiment: MaskRCNNExperiment) -> Iterator[ManifestProblem]:
    """Yield the problems of ``spec.objectStores``, and of URLs in fields of steps, without any part of a URL.

    URLs in ``spec.experiment`` are checked by the rules of the spec.
    """
    stores = experiment.spec.object_stores
    for problem in store_problems(stores):
        yield ManifestProblem(f"spec.objectStores{dotted(problem.path)}", problem.message)
    if found := size_problem(stores_of_pods(stores)):
        yield ManifestProblem("spec.objectStores", found)
    for index, step in enumerate(experiment.spec.steps):
        for path, kind in STEP_URLS.items():
            given: Any = step
            for name in path:
                given = getattr(given, str(name), None)
            if isinstance(given, str) and (found := input_problem(given, kind)):
                yield ManifestProblem(f"spec.steps[{index}].{dotted(path)}", found)
