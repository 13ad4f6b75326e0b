"""Experiment spec of one step: the step's fields override the experiment's, and missing paths are filled in."""

from __future__ import annotations

import fnmatch
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from maskrcnn_operator.api.base import PATH_OR_URL, WORKSPACE_MOUNT
from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.manifest import details_problem
from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.task_kinds import FILE_FIELDS, RECORD_MAKERS, TRAINING_RECORDS, Records, a_step_of
from maskrcnn_operator.core.graph import ModelUse, StepGraph, StepNode
from maskrcnn_trainer.shared.object_url import is_url, local_path, without_secrets
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.experiment import CHECKPOINT_OPTIONS, WITHOUT_RULES, ExperimentSpec
from maskrcnn_trainer.spec.named_files import file_fields
from maskrcnn_trainer.spec.partial import merge_experiment
from maskrcnn_trainer.spec.rules import check_rules
from maskrcnn_trainer.spec.worker_group import problems_of_processes

MODEL_FIELDS = file_fields(ExperimentSpec)
"""Fields of the spec that name models."""
_MODEL_NAMES = tuple((name, dotted((name,))) for name in MODEL_FIELDS)
_FILE_NAMES = tuple((name, dotted(("data_config", name))) for name in FILE_FIELDS)


@dataclass(frozen=True)
class MergedStep:
    """Merged spec of a step, or its problems.

    Attributes:
        spec: merged spec with data paths filled in, but without the path of another step's model (see
            :func:`with_model`). None if it is invalid, and for tasks that read no spec.
        problems: problems of the spec; each names the step and the field.
    """

    spec: ExperimentSpec | None
    problems: tuple[ManifestProblem, ...] = ()


def results_directory(experiment: str, step: str) -> str:
    """Return the path of a step's results directory, as every pod sees it."""
    return f"{WORKSPACE_MOUNT}/{experiment}/{step}"


def records_pattern(experiment: str, step: str, records: Records) -> str:
    """Return the glob pattern of the TFRecords that a step writes."""
    return f"{results_directory(experiment, step)}/{records.prefix}-*.tfrecord"


def merge_step(experiment: MaskRCNNExperiment, graph: StepGraph, name: str) -> MergedStep:
    """Return the merged spec of the step ``name``, checked by the trainer's rules."""
    step, node = experiment.step(name), graph.nodes[name]
    if not step.kind.reads_spec:
        return MergedStep(None)
    field = f"spec.steps[{node.index}].experiment"
    spec = experiment.spec.experiment
    if step.experiment is not None:
        merged = merge_experiment(_given(spec), _given(step.experiment))
        try:
            spec = ExperimentSpec.model_validate_json(json.dumps(merged), context=WITHOUT_RULES, strict=True)
        except ValidationError as error:
            return MergedStep(None, tuple(details_problem(item, field) for item in error.errors(include_url=False)))
    problems = [
        ManifestProblem(f"{field}.{rule.field or dotted(rule.path)}", f"merged for step {name}: {rule.message}")
        for rule in (*check_rules(spec), *problems_of_processes(spec, step.processes))
    ]
    spec = _with_data(spec, experiment, graph, step)
    spec = _without_model(spec, node, step)
    problems += _path_problems(spec, field, step)
    return MergedStep(spec if not problems else None, tuple(problems))


def with_model(spec: ExperimentSpec, node: StepNode, model_path: str | None) -> ExperimentSpec:
    """Return the spec with the path of another step's model if the task reads it from the spec."""
    if node.model_use is ModelUse.PRUNED_MODEL_PATH:
        return spec.model_copy(update={"pruned_model_path": model_path})
    if node.model_use is ModelUse.CHECKPOINT:
        return spec.model_copy(update={"checkpoint": model_path})
    return spec


def _given(part: Any) -> dict[str, Any]:
    # without defaults, which would count as given
    dumped: dict[str, Any] = part.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    return dumped


def _with_data(spec: ExperimentSpec, experiment: MaskRCNNExperiment, graph: StepGraph, step: Step) -> ExperimentSpec:
    data = spec.data_config
    filled: dict[str, str] = {}
    patterns: dict[str, list[str]] = {"train": [], "val": []}
    annotations = None
    for name in graph.nodes[step.name].data:
        records = experiment.step(name).records
        assert records is not None  # noqa: S101 - the graph takes data only from such steps
        patterns[records.split].append(records_pattern(experiment.name, name, records))
        if records.split == "val":
            annotations = records.annotations_file
    if not data.training_file_pattern and patterns["train"]:
        filled["training_file_pattern"] = ",".join(patterns["train"])
    if not data.validation_file_pattern and patterns["val"]:
        filled["validation_file_pattern"] = ",".join(patterns["val"])
    if not data.val_json_file and annotations:
        filled["val_json_file"] = annotations
    return spec.model_copy(update={"data_config": data.model_copy(update=filled)}) if filled else spec


def _without_model(spec: ExperimentSpec, node: StepNode, step: Step) -> ExperimentSpec:
    """Return the spec without the experiment's model if the step uses the model of another step.

    The options that specify how to read the experiment's ``checkpoint`` don't apply to that model; only those of the
    step do.
    """
    if node.model_use not in (ModelUse.PRUNED_MODEL_PATH, ModelUse.CHECKPOINT):
        return spec
    own = {} if step.experiment is None else {name: getattr(step.experiment, name) for name in CHECKPOINT_OPTIONS}
    changed: dict[str, Any] = dict.fromkeys(MODEL_FIELDS)
    for name in CHECKPOINT_OPTIONS:
        value = own.get(name) if node.model_use is ModelUse.CHECKPOINT else None
        if value is None:
            value = ExperimentSpec.model_fields[name].get_default(call_default_factory=True)
        if value != getattr(spec, name) or name in changed:
            changed[name] = value
    return spec.model_copy(update=changed)


def _path_problems(spec: ExperimentSpec, field: str, step: Step) -> list[ManifestProblem]:
    problems = []
    for path, value in spec_paths(spec).items():
        relative = [part for part in paths_in(path, value) if not part.startswith("/") and not is_url(part)]
        if relative:
            where = field if _changes(step, path) else "spec.experiment"
            problems.append(
                ManifestProblem(f"{where}.{path}", f"found {without_secrets(relative[0])!r}; it {PATH_OR_URL}")
            )
    for name in step.files:
        if not getattr(spec.data_config, name):
            camel = dotted(("data_config", name))
            problems.append(
                ManifestProblem(
                    f"{field}.{camel}",
                    f"required by step {step.name}: set it in spec.experiment, or add {a_step_of(RECORD_MAKERS)} "
                    f"(split: {'train' if name == TRAINING_RECORDS else 'val'}) before this step",
                )
            )
    return problems


def _changes(step: Step, path: str) -> bool:
    """Return whether the step's own experiment gives a field; ``path`` is its dotted camelCase name."""
    part: Any = {} if step.experiment is None else _given(step.experiment)
    for name in path.split("."):
        part = part.get(name) if isinstance(part, dict) else None
    return part is not None


def spec_paths(spec: ExperimentSpec) -> Mapping[str, str]:
    """Return the file paths that a spec gives, by camelCase field; patterns are not split at commas."""
    found = {camel: getattr(spec, name) for name, camel in _MODEL_NAMES}
    found |= {camel: getattr(spec.data_config, name) for name, camel in _FILE_NAMES}
    return {field: value for field, value in found.items() if value}


def paths_in(field: str, value: str) -> list[str]:
    """Return the paths in a field of :func:`spec_paths`: one, or each of comma-separated patterns."""
    return [part.strip() for part in value.split(",") if part.strip()] if field.endswith("Pattern") else [value]


def names_directory_of(pattern: str, experiment: str, step: str) -> bool:
    """Return whether a path, or one of comma-separated patterns, lies in the results directory of a step.

    A URL of a file is its path; other URLs lie in no directory.
    """
    directory = _segments(results_directory(experiment, step))
    for part in pattern.split(","):
        given = part.strip()
        found = _segments(local_path(given) or given)
        if len(found) >= len(directory) and all(
            fnmatch.fnmatchcase(have, glob) for have, glob in zip(directory, found, strict=False)
        ):
            return True
    return False


@functools.lru_cache(maxsize=4096)
def _segments(path: str) -> tuple[str, ...]:
    """Return the parts of an absolute path, the root first, without empty parts and dots."""
    return ("/" if path.startswith("/") else "", *(part for part in path.split("/") if part not in ("", ".")))
