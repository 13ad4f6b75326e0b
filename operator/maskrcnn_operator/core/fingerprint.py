"""Fingerprints: what the result of a step depends on, as a hash.

Version 1 is SHA-256 over canonical JSON (sorted keys, no spaces, ASCII, floats as Python's shortest form), cut to 32
hex digits, with the suffix ``-v1``. The JSON object has these members, each left out where it is empty:

* ``task``: the task's name;
* ``fields``: the task's own fields, those equal to their default left out;
* ``experiment``: the fields of the merged spec that the task reads (:mod:`maskrcnn_operator.core.fields_read`),
  converted by type, those equal to their default left out; paths as the manifest has them;
* ``processes``: the number of training processes, where it is not 1;
* ``revision``: the step's revision;
* ``key``: true where the result is written encrypted;
* ``modelPath``: the model file that the step names;
* ``data`` and ``model``: fingerprints (without suffix) of the steps whose results it consumes.

The image, resources, pod overrides, retries and the operator's own defaults are not in it: an upgrade trains nothing
again. A later version is added beside this one, and a recorded fingerprint is compared by the version in its suffix.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, Step
from maskrcnn_operator.api.tasks import DatasetConvert, Export
from maskrcnn_operator.core.fields_read import KEY_MATTERS, fields_read
from maskrcnn_operator.core.graph import ModelUse, StepGraph
from maskrcnn_operator.core.merge import MODEL_FIELDS, conversion_tag, names_directory_of
from maskrcnn_trainer.spec.experiment import ExperimentSpec

CURRENT_VERSION = "v1"


@dataclass(frozen=True)
class FingerprintInput:
    """Everything that a version of the algorithm may read of one step.

    Attributes:
        step: the step as the manifest has it.
        spec: its merged spec, without the path of another step's model; None for tasks without one.
        key: whether an encryption key is used.
        data: fingerprints, without suffix, of the conversions that it reads, by step name.
        model: fingerprint, without suffix, of the step whose model it takes.
        model_use: how it takes that model.
    """

    step: Step
    spec: ExperimentSpec | None
    key: bool
    data: Mapping[str, str]
    model: str | None
    model_use: ModelUse | None


def _version_1(item: FingerprintInput) -> str:
    step = item.step
    content: dict[str, Any] = {
        "task": step.task_name.value,
        "fields": _task_fields(step),
        "experiment": _spec_fields(item),
        "processes": step.processes if step.processes > 1 else None,
        "revision": step.revision,
        "key": item.key and step.task_name in KEY_MATTERS,
        "modelPath": step.model_path,
        "data": sorted(item.data.values()),
        "model": [item.model_use.value, item.model] if item.model and item.model_use else None,
    }
    text = json.dumps(
        {key: value for key, value in content.items() if value},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


ALGORITHMS: Mapping[str, Callable[[FingerprintInput], str]] = {"v1": _version_1}
"""Every version that is still recognised; none is ever changed or removed within an API version."""


def fingerprint_version(fingerprint: str) -> str | None:
    """The version in a fingerprint's suffix; None where this release does not know it."""
    version = fingerprint.rpartition("-")[2]
    return version if version in ALGORITHMS else None


def fingerprints(
    experiment: MaskRCNNExperiment,
    graph: StepGraph,
    specs: Mapping[str, ExperimentSpec | None],
    version: str = CURRENT_VERSION,
) -> dict[str, str]:
    """The fingerprint of every step, by name, by one version of the algorithm.

    Args:
        graph: without problems.
        specs: the merged spec of each step (see :func:`maskrcnn_operator.core.merge.merge_step`).
    """
    algorithm = ALGORITHMS[version]
    digests: dict[str, str] = {}
    for name in graph.topological_order():
        node, step = graph.nodes[name], experiment.step(name)
        digests[name] = algorithm(
            FingerprintInput(
                step=step,
                spec=specs[name],
                key=experiment.spec.encryption_key_secret_ref is not None,
                data={other: digests[other] for other in _consumed(experiment, graph, step, specs[name])},
                model=digests[node.model] if node.model else None,
                model_use=node.model_use,
            )
        )
    return {name: f"{digest}-{version}" for name, digest in digests.items()}


def _consumed(
    experiment: MaskRCNNExperiment, graph: StepGraph, step: Step, spec: ExperimentSpec | None
) -> tuple[str, ...]:
    """Steps whose results directory one of the paths that the task reads points into, and that run before it."""
    before = graph.ancestors(step.name)
    paths = _paths_read(step, spec)
    return tuple(
        other.name
        for other in experiment.spec.steps
        if other.name in before and any(names_directory_of(path, experiment.name, other.name) for path in paths)
    )


def _paths_read(step: Step, spec: ExperimentSpec | None) -> tuple[str, ...]:
    task = step.task
    own = [step.model_path, *(getattr(task, name, None) for name in ("image_dir", "annotations_file", "class_map"))]
    if isinstance(task, Export) and task.data_type == "int8":
        own.append(task.calibration.image_dir)
    read = fields_read(step, spec)
    if spec is not None:
        own += [getattr(spec, name) for name in MODEL_FIELDS if name in read]
        own += [
            getattr(spec.data_config, name)
            for name in ("training_file_pattern", "validation_file_pattern", "val_json_file")
            if f"data_config.{name}" in read
        ]
    return tuple(path for path in own if path)


def _task_fields(step: Step) -> dict[str, Any]:
    task = step.task
    fields = _without_defaults(task)
    if isinstance(task, DatasetConvert):
        # what a set is for changes those who read it, not the set; a tag that says the default is the default
        fields.pop("split", None)
        if task.tag == conversion_tag(task.model_copy(update={"tag": None})):
            fields.pop("tag", None)
    if isinstance(task, Export) and task.data_type != "int8":
        fields.pop("calibration", None)
    return fields


def _spec_fields(item: FingerprintInput) -> dict[str, Any]:
    spec = item.spec
    if spec is None:
        return {}
    wanted = fields_read(item.step, spec)
    fields: dict[str, Any] = {}
    for part, model in (
        ("", spec),
        ("data_config.", spec.data_config),
        ("maskrcnn_config.", spec.maskrcnn_config),
    ):
        for name, value in _without_defaults(model).items():
            if part + name in wanted:
                fields[part + name] = value
    if not (fields.get("checkpoint") or fields.get("pruned_model_path") or item.model):
        fields.pop("skip_checkpoint_variables", None)
    return fields


def _without_defaults(model: BaseModel) -> dict[str, Any]:
    """Fields that differ from their default, as JSON values under their Python names; sequences as lists."""
    defaults = _defaults(type(model))
    return {
        name: _plain(value) for name, value in model.__dict__.items() if name not in defaults or value != defaults[name]
    }


@functools.cache
def _defaults(model: type[BaseModel]) -> Mapping[str, Any]:
    return {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _without_defaults(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
