"""Parser of experiments from the API server, which reads an unchanged spec only once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from maskrcnn_operator.api.experiment import MaskRCNNExperiment, ObjectMeta
from maskrcnn_operator.api.manifest import details_problem, read_object
from maskrcnn_operator.api.problems import ManifestError, ManifestProblem, field_path
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.api.text import clean
from maskrcnn_operator.api.workspace import Workspace
from maskrcnn_operator.cluster.compact import compact

_NOT_KEPT = ("managedFields", "ownerReferences", "finalizers", "annotations", "labels")
"""Metadata that affects no decision and may have a megabyte."""
_MOST_PROBLEMS = 100
"""Most problems that are kept: the message of a condition has no room for more."""
_OF_OVERRIDES_OF_A_STEP = re.compile(r"spec\.steps\[(\d+)\]\.podOverrides(?![A-Za-z])")
_OF_A_FIELD = re.compile(
    r"spec\.(workspace\.objectStorage\.(?:takeOverFrom|scratch)|workspace|encryptionKeySecretRef|queueName)(?![A-Za-z])"
)
"""Fields that no run is followed or stopped by; most of them can only change while the experiment is suspended."""
UNKNOWN_WORKSPACE = Workspace.model_construct()
"""Workspace of an experiment whose own one is invalid: neither a claim nor a URL."""
_ANY_WORKSPACE = {"persistentVolumeClaim": {"claimName": "any"}}
"""Takes the place of an invalid workspace while the object is read, because a valid object has one."""


def read_experiment(
    item: Mapping[str, Any], known: MaskRCNNExperiment | None = None
) -> tuple[MaskRCNNExperiment | None, tuple[ManifestProblem, ...]]:
    """Return the experiment, and the problems that prevent it from being read. It raises nothing, for any object.

    If only fields are invalid that no run is followed by, the experiment is returned without them and with the
    problems: it cannot be carried out, but its runs are tracked and can be suspended. The API server accepts any
    podOverrides in a step. The others are fields that can only be corrected while the experiment is suspended: without
    that, it would be lost if an older release has accepted them.

    Args:
        item: the object from the API server.
        known: the same experiment at the same generation, so that the spec is not read again; None if unknown.
    """
    try:
        return compact(_read(item, known)), ()
    except ManifestError as error:
        without = _without_wrong_fields(item, error.problems)
        if without is None:
            return None, error.problems[:_MOST_PROBLEMS]
        rest, more = read_experiment(without)
        if rest is not None and without["spec"].get("workspace") is _ANY_WORKSPACE:
            rest = compact(rest.without_workspace())
        return rest, (*error.problems, *more)[:_MOST_PROBLEMS]
    except Exception as error:  # noqa: BLE001 - a malformed object must not affect others
        message = clean(str(error), 200)
        return None, (ManifestProblem("", f"cannot be read: {type(error).__name__}: {message}"),)


def _read(item: Mapping[str, Any], known: MaskRCNNExperiment | None) -> MaskRCNNExperiment:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _NOT_KEPT}
    if known is None:
        return read_object({**item, "metadata": metadata})
    try:
        newer = ObjectMeta.model_validate_json(json.dumps(metadata))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ManifestError(tuple(details_problem(each, "metadata") for each in details)) from error
    try:
        status = ExperimentStatus.model_validate_json(json.dumps(item.get("status") or {}))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ManifestError(
            tuple(ManifestProblem(f"status.{field_path(each['loc'])}", each["msg"]) for each in details)
        ) from error
    return known.model_copy(update={"metadata": newer, "status": status})


def _without_wrong_fields(item: Mapping[str, Any], problems: Iterable[ManifestProblem]) -> dict[str, Any] | None:
    """Return the object without its invalid fields; None if a field is invalid that runs are followed by."""
    overrides, fields = set[int](), set[str]()
    for problem in problems:
        if match := _OF_OVERRIDES_OF_A_STEP.match(problem.field):
            overrides.add(int(match[1]))
        elif match := _OF_A_FIELD.match(problem.field):
            fields.add(match[1])
        else:
            return None
    spec = {name: value for name, value in item["spec"].items() if name not in fields}
    if overrides:
        spec["steps"] = [
            {name: value for name, value in step.items() if name != "podOverrides"} if index in overrides else step
            for index, step in enumerate(spec["steps"])
        ]
    if "workspace" in fields:
        spec["workspace"] = _ANY_WORKSPACE
    elif wrong := {field.rpartition(".")[2] for field in fields if "." in field}:
        storage = spec["workspace"]["objectStorage"]
        kept = {name: value for name, value in storage.items() if name not in wrong}
        spec["workspace"] = {**spec["workspace"], "objectStorage": kept}
    return {**item, "spec": spec}


def without_what_is_large(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object without unused metadata, with ``suspend`` alone of its spec, and its status if that is JSON."""
    kept = {key: value for key, value in item.items() if key not in ("spec", "status")}
    kept["metadata"] = {key: value for key, value in item["metadata"].items() if key not in _NOT_KEPT}
    spec = item.get("spec")
    kept["spec"] = {"suspend": isinstance(spec, Mapping) and spec.get("suspend") is True}
    try:
        json.dumps(item.get("status"))
    except (ValueError, TypeError, RecursionError):
        return kept
    return {**kept, "status": item.get("status")}
