"""Fingerprints: hashes of everything on which the result of a step depends.

A fingerprint is SHA-256 over canonical JSON (sorted keys, no spaces, ASCII, floats as Python's shortest form), cut to
32 hex digits, with the version of the algorithm as suffix, such as ``-v2``. The JSON object has these members, without
those that are empty:

* ``version``: 2, from version 2 on;
* ``task``: the task's name;
* ``fields``: the task's own fields, without those equal to their default;
* ``experiment``: the fields of the merged spec that the task reads (:mod:`maskrcnn_operator.core.fields_read`),
  converted by type, without those equal to their default; paths as in the manifest. Only this member differs between
  versions 1 and 2: version 2 has no ``shuffleBufferSize``, and for an INT8 calibration it has the seed and, with
  records, their pattern;
* ``processes``: the number of training processes if it is not 1;
* ``revision``: the step's revision;
* ``key``: true if the result is encrypted;
* ``modelPath``: the model file that the step names;
* ``data`` and ``model``: fingerprints (without suffix) of the steps whose results it uses.

The image, resources, pod overrides, retries, and the operator's own defaults are not part of it, so an upgrade does not
repeat a training. A version never changes: a recorded fingerprint is compared with the fingerprint of the current spec
by the same version (:class:`maskrcnn_operator.core.desired.DesiredState`).
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
from maskrcnn_operator.api.task_kinds import FILE_FIELDS
from maskrcnn_operator.core.fields_read import Fields, calibrates_on_images, fields_read, fields_read_by_version_1
from maskrcnn_operator.core.graph import ModelUse, StepGraph
from maskrcnn_operator.core.merge import MODEL_FIELDS, names_directory_of
from maskrcnn_trainer.spec.experiment import CHECKPOINT_OPTIONS, ExperimentSpec

CURRENT_VERSION = "v2"


@dataclass(frozen=True)
class FingerprintInput:
    """Input of the algorithm: everything that any version reads of one step.

    Attributes:
        step: the step as in the manifest.
        spec: merged spec, without the path of another step's model; None for tasks that read none.
        key: whether an encryption key is used.
        data: fingerprints, without suffix, of the conversions whose records it reads, by step name.
        model: fingerprint, without suffix, of the step whose model it uses.
        model_use: how it uses that model.
    """

    step: Step
    spec: ExperimentSpec | None
    key: bool
    data: Mapping[str, str]
    model: str | None
    model_use: ModelUse | None


def _version_1(item: FingerprintInput) -> str:
    return _digest(_content(item, fields_read_by_version_1(item.step, item.spec)))


def _version_2(item: FingerprintInput) -> str:
    return _digest({"version": 2, **_content(item, fields_read(item.step, item.spec))})


def _content(item: FingerprintInput, read: Fields) -> dict[str, Any]:
    step = item.step
    return {
        "task": step.task_name.value,
        "fields": _task_fields(step),
        "experiment": _spec_fields(item, read),
        "processes": step.processes if step.processes > 1 else None,
        "revision": step.revision,
        "key": item.key and step.kind.makes_model is not None,
        "modelPath": step.model_path,
        "data": sorted(item.data.values()),
        "model": [item.model_use.value, item.model] if item.model and item.model_use else None,
    }


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(
        {key: value for key, value in content.items() if value},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


ALGORITHMS: Mapping[str, Callable[[FingerprintInput], str]] = {"v1": _version_1, "v2": _version_2}
"""All versions that are recognized; none is changed or removed within an API version."""


@dataclass(frozen=True)
class StepFingerprints:
    """Fingerprints of one step in the current spec.

    Attributes:
        by_version: fingerprint by each version, computed from fingerprints of the same version of the steps whose
            results it uses.
        older: fingerprint by version 1. If version 1 does not cover everything that the step reads, fingerprint by
            version 2, computed from fingerprints by version 1 of the steps whose results it uses.
        lasting: whether every edit that changes ``older`` also changes ``newest``.
        consumed: names of the steps whose results it uses.
    """

    by_version: Mapping[str, str]
    older: str
    lasting: bool
    consumed: tuple[str, ...]

    @property
    def newest(self) -> str:
        """Return the fingerprint by the current version."""
        return self.by_version[CURRENT_VERSION]


def fingerprints(
    experiment: MaskRCNNExperiment, graph: StepGraph, specs: Mapping[str, ExperimentSpec | None]
) -> dict[str, StepFingerprints]:
    """Return the fingerprints of every step, by name.

    Args:
        experiment: with a valid spec.
        graph: graph of its steps, without problems.
        specs: merged spec of each step (see :func:`maskrcnn_operator.core.merge.merge_step`).
    """
    found: dict[str, StepFingerprints] = {}
    for name in graph.topological_order():
        node, step, spec = graph.nodes[name], experiment.step(name), specs[name]
        data = _consumed(experiment, graph, step, spec)
        consumed = tuple(dict.fromkeys((*data, node.model))) if node.model else data
        inputs: dict[str, FingerprintInput] = {}
        for version in ALGORITHMS:
            digests = {other: found[other].by_version[version].rpartition("-")[0] for other in consumed}
            inputs[version] = FingerprintInput(
                step=step,
                spec=spec,
                key=experiment.spec.encryption_key_secret_ref is not None,
                data={other: digests[other] for other in data},
                model=digests[node.model] if node.model else None,
                model_use=node.model_use,
            )
        by_version = {version: f"{algorithm(inputs[version])}-{version}" for version, algorithm in ALGORITHMS.items()}
        more = fields_read_by_version_1(step, spec) - fields_read(step, spec)
        found[name] = StepFingerprints(
            by_version,
            older=f"{_version_2(inputs['v1'])}-v2" if calibrates_on_images(step) else by_version["v1"],
            lasting=not more and all(found[other].lasting for other in consumed),
            consumed=consumed,
        )
    return found


def lacks_what_it_reads(step: Step, fingerprint: str) -> bool:
    """Return whether a fingerprint does not cover all inputs of a step: version 1 of a calibration on images."""
    return fingerprint.endswith("-v1") and calibrates_on_images(step)


def _consumed(
    experiment: MaskRCNNExperiment, graph: StepGraph, step: Step, spec: ExperimentSpec | None
) -> tuple[str, ...]:
    """Return the earlier steps in whose results directory a path that the task reads lies."""
    before = graph.ancestors(step.name)
    paths = _paths_read(step, spec)
    return tuple(
        other.name
        for other in experiment.spec.steps
        if other.name in before and any(names_directory_of(path, experiment.name, other.name) for path in paths)
    )


def _paths_read(step: Step, spec: ExperimentSpec | None) -> tuple[str, ...]:
    own = [step.model_path, *step.kind.inputs(step.task).values()]
    read = fields_read(step, spec)
    if spec is not None:
        own += [getattr(spec, name) for name in MODEL_FIELDS if name in read]
        own += [getattr(spec.data_config, name) for name in FILE_FIELDS if f"data_config.{name}" in read]
    return tuple(path for path in own if path)


def _task_fields(step: Step) -> dict[str, Any]:
    unimportant = step.kind.without_effect(step.task)
    return {name: value for name, value in _without_defaults(step.task).items() if name not in unimportant}


def _spec_fields(item: FingerprintInput, read: Fields) -> dict[str, Any]:
    spec = item.spec
    if spec is None:
        return {}
    fields: dict[str, Any] = {}
    for part, model in (
        ("", spec),
        ("data_config.", spec.data_config),
        ("maskrcnn_config.", spec.maskrcnn_config),
    ):
        for name, value in _without_defaults(model).items():
            if part + name in read:
                fields[part + name] = value
    if not (fields.get("checkpoint") or fields.get("pruned_model_path") or item.model):
        fields.pop("skip_checkpoint_variables", None)
    if not (fields.get("checkpoint") or item.model):
        for name in CHECKPOINT_OPTIONS:
            fields.pop(name, None)
    return fields


def _without_defaults(model: BaseModel) -> dict[str, Any]:
    """Return the fields that differ from their default, as JSON values under their Python names."""
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
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
