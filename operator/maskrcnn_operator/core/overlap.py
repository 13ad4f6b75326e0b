"""Inputs of tasks that overlap with the results directory of a step of the same experiment.

A step's results directory is moved aside when its fingerprint changes, and old results are deleted later. Therefore a
task may read from the directory of a step that runs before it, but not from that of another step. The directory of a
step that was removed from the spec belongs to the user.
"""

from __future__ import annotations

import fnmatch
import functools
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.task_kinds import VALIDATION_ANNOTATIONS
from maskrcnn_operator.core.graph import ModelUse, StepGraph
from maskrcnn_operator.core.merge import results_directory
from maskrcnn_trainer.shared.object_url import is_url, local_path
from maskrcnn_trainer.spec.errors import dotted

_OLDER = re.compile(r"(?P<step>.+)\.(?!(?:19|20)\d{6}$)[0-9a-f]{8}(?:\.\d+)?")
"""Name of a directory with older results of a step. A name with eight digits that may be a date is the user's."""


@dataclass(frozen=True)
class InputPath:
    """Path that a task reads.

    Attributes:
        field: field in which the user gave it.
        path: absolute path of a file or directory, or a glob pattern.
        pattern: whether it is a pattern.
    """

    field: str
    path: str
    pattern: bool = False


def overlaps(experiment: MaskRCNNExperiment, graph: StepGraph) -> Mapping[str, tuple[ManifestProblem, ...]]:
    """Return the problems of the inputs of each step that has any, by step name.

    Args:
        experiment: with a valid spec.
        graph: graph of its steps, without problems.
    """
    found: dict[str, tuple[ManifestProblem, ...]] = {}
    for step in experiment.spec.steps:
        problems = tuple(
            problem
            for given in inputs_of(experiment, graph, step)
            if (problem := _problem(given, experiment, graph, step)) is not None
        )
        if problems:
            found[step.name] = problems
    return found


def inputs_of(experiment: MaskRCNNExperiment, graph: StepGraph, step: Step) -> Iterator[InputPath]:
    """Yield the paths that a step reads, if the user gave them."""
    node = graph.nodes[step.name]
    field = f"spec.steps[{node.index}]"
    if step.model_path:
        yield InputPath(f"{field}.modelPath", step.model_path)
    for name, path in step.kind.inputs(step.task).items():
        if path:
            yield InputPath(f"{field}.{step.task_name.value}.{name}", path)
    if step.kind.model_in_spec and node.model_use not in (ModelUse.PRUNED_MODEL_PATH, ModelUse.CHECKPOINT):
        pruned = _given(experiment, step, field, ("pruned_model_path",))
        yield from pruned or _given(experiment, step, field, ("checkpoint",))
    for name in step.files:
        yield from _given(experiment, step, field, ("data_config", name)) or _filled(experiment, graph, step, name)


def _given(experiment: MaskRCNNExperiment, step: Step, step_field: str, path: tuple[str, ...]) -> list[InputPath]:
    """Return the paths in a field of the merged spec, as the step or the experiment gives it; patterns are split."""
    specs: dict[str, Any] = {f"{step_field}.experiment": step.experiment, "spec.experiment": experiment.spec.experiment}
    for where, spec in specs.items():
        value: Any = functools.reduce(lambda part, name: getattr(part, name, None), path, spec)
        if value:
            field = f"{where}.{dotted(path)}"
            if not path[-1].endswith("pattern"):
                return [InputPath(field, value)]
            return [InputPath(field, part.strip(), pattern=True) for part in value.split(",") if part.strip()]
    return []


def _filled(experiment: MaskRCNNExperiment, graph: StepGraph, step: Step, name: str) -> list[InputPath]:
    """Return the paths filled in for an absent field, without records of earlier steps, which never overlap."""
    if name != VALIDATION_ANNOTATIONS:
        return []
    return [
        InputPath(
            f"spec.steps[{graph.nodes[source.name].index}].{source.task_name.value}.annotationsFile",
            source.records.annotations_file,
        )
        for source in map(experiment.step, graph.nodes[step.name].data)
        if source.records and source.records.split == "val"
    ]


def _problem(given: InputPath, experiment: MaskRCNNExperiment, graph: StepGraph, step: Step) -> ManifestProblem | None:
    path = local_path(given.path) or given.path
    if is_url(path):
        return None
    parts = _parts(path)
    home = _parts(results_directory(experiment.name, ""))
    if not given.pattern and not _one_begins_with_the_other(parts, home):
        return None
    before = graph.ancestors(step.name)
    for index, other in enumerate(experiment.spec.steps):
        directory = _parts(results_directory(experiment.name, other.name))
        overlap = _may_match_in(parts, directory) if given.pattern else _one_begins_with_the_other(parts, directory)
        if overlap and other.name not in before:
            relation = "is" if parts == directory else "contains" if len(parts) < len(directory) else "lies in"
            whose = "this step" if other is step else f"step {other.name}"
            return ManifestProblem(
                given.field,
                f"{given.path} {relation} the results directory of {whose} (spec.steps[{index}].name), which may be "
                f"moved or deleted: {_remedy(relation, step, other, graph)}",
            )
    older = _OLDER.fullmatch(parts[len(home)]) if len(parts) > len(home) and parts[: len(home)] == home else None
    # a directory from which its own step reads, for example a checkpoint, is not deleted
    if older is None or older["step"] == step.name or older["step"] not in graph.nodes:
        return None
    index = graph.nodes[older["step"]].index
    return ManifestProblem(
        given.field,
        f"{given.path} lies in older results of step {older['step']} (spec.steps[{index}].name), which are deleted "
        "when that step changes again: copy the files to another directory",
    )


def _remedy(relation: str, step: Step, other: Step, graph: StepGraph) -> str:
    if relation == "contains":
        return "use a directory without it"
    if other is step or step.name in graph.ancestors(other.name):
        return "use another path, or rename the step"
    return "use another path, rename that step, or add it to dependsOn"


@functools.lru_cache(maxsize=4096)
def _parts(path: str) -> tuple[str, ...]:
    """Return the parts of an absolute path, with empty parts, ``.``, and ``..`` resolved."""
    return tuple(part for part in posixpath.normpath(path).split("/") if part)


def _one_begins_with_the_other(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def _may_match_in(pattern: tuple[str, ...], directory: tuple[str, ...]) -> bool:
    """Return whether a pattern may match a directory, or a path in it."""
    for position, part in enumerate(directory):
        if position >= len(pattern):
            return False
        if pattern[position] == "**":
            return True
        if not fnmatch.fnmatchcase(part, pattern[position]):
            return False
    return True
