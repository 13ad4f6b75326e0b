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
from maskrcnn_operator.cluster.compact import compact

_NOT_KEPT = ("managedFields", "ownerReferences", "finalizers", "annotations", "labels")
"""Metadata that affects no decision and may have a megabyte."""
_MOST_PROBLEMS = 100
"""Most problems that are kept: the message of a condition has no room for more."""
_OF_OVERRIDES_OF_A_STEP = re.compile(r"spec\.steps\[(\d+)\]\.podOverrides(?![A-Za-z])")


def read_experiment(
    item: Mapping[str, Any], known: MaskRCNNExperiment | None = None
) -> tuple[MaskRCNNExperiment | None, tuple[ManifestProblem, ...]]:
    """Return the experiment, and the problems that prevent it from being read. It raises nothing, for any object.

    The API server accepts any podOverrides in a step. If only these are invalid, the experiment is returned without
    them and with the problems: it cannot be carried out, but its runs are tracked and can be suspended.

    Args:
        item: the object from the API server.
        known: the same experiment at the same generation, so that the spec is not read again; None if unknown.
    """
    try:
        return compact(_read(item, known)), ()
    except ManifestError as error:
        without = _without_wrong_overrides(item, error.problems)
        if without is None:
            return None, error.problems[:_MOST_PROBLEMS]
        rest, more = read_experiment(without)
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


def _without_wrong_overrides(item: Mapping[str, Any], problems: Iterable[ManifestProblem]) -> dict[str, Any] | None:
    """Return the object without the invalid podOverrides of steps; None if another field is invalid."""
    found = [_OF_OVERRIDES_OF_A_STEP.match(problem.field) for problem in problems]
    wrong = {int(match[1]) for match in found if match is not None}
    if not wrong or None in found:
        return None
    steps = [
        {field: value for field, value in step.items() if field != "podOverrides"} if index in wrong else step
        for index, step in enumerate(item["spec"]["steps"])
    ]
    return {**item, "spec": {**item["spec"], "steps": steps}}


def without_what_is_large(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object without its spec and unused metadata, and with its status only if that is valid JSON."""
    kept = {key: value for key, value in item.items() if key not in ("spec", "status")}
    kept["metadata"] = {key: value for key, value in item["metadata"].items() if key not in _NOT_KEPT}
    try:
        json.dumps(item.get("status"))
    except (ValueError, TypeError, RecursionError):
        return kept
    return {**kept, "status": item.get("status")}
