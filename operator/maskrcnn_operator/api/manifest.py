"""Reading of a manifest or an API server's object: a typed experiment, or all problems at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from maskrcnn_operator.api.base import (
    API_VERSION,
    EXPERIMENT_NAME_PATTERN,
    GROUP,
    KIND,
    PATH_OR_URL,
    PATH_OR_URL_PATTERN,
    STEP_NAME_PATTERN,
)
from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.opaque import opaque_problems
from maskrcnn_operator.api.pod import LABEL_VALUE_PATTERN
from maskrcnn_operator.api.problems import ManifestError, ManifestProblem, field_path
from maskrcnn_operator.api.text import clean, one_line
from maskrcnn_operator.api.unknown import UnknownName, unknown_name
from maskrcnn_operator.api.urls import url_problems
from maskrcnn_operator.api.workspace import QUANTITY_PATTERN
from maskrcnn_trainer.shared.resource import OBJECT_NAME_PATTERN
from maskrcnn_trainer.shared.text import shown
from maskrcnn_trainer.shared.yaml_reading import UNREADABLE_VALUES, KeyNotPlain, KeyTwice, load_documents
from maskrcnn_trainer.spec.errors import Problem as SpecProblem
from maskrcnn_trainer.spec.errors import dotted
from maskrcnn_trainer.spec.experiment import WITHOUT_RULES, ExperimentSpec
from maskrcnn_trainer.spec.parsing import is_within, what_is_right
from maskrcnn_trainer.spec.recognition import looks_like_prototxt
from maskrcnn_trainer.spec.rules import check_rules

_KINDS_SHOWN = 5
_IMPORT = "convert it with: maskrcnn spec import FILE > manifest.yaml"


def read_manifest(text: str) -> MaskRCNNExperiment:
    """Return the only MaskRCNNExperiment of a YAML text; documents of other kinds are ignored.

    Raises:
        ManifestError: the text has problems; lists all of them, each with its field as the user wrote it.
    """
    try:
        documents = load_documents(text)
    except yaml.MarkedYAMLError as error:
        _refuse_bare_spec(text)
        where = f"line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ManifestError((ManifestProblem(where, f"invalid YAML: {_worded(error)}"),)) from error
    except yaml.YAMLError as error:
        raise ManifestError((ManifestProblem("", f"invalid YAML: {error}"),)) from error
    except RecursionError:
        raise _too_deep() from None
    except UNREADABLE_VALUES as error:
        raise ManifestError(
            (ManifestProblem("", f"has a value that cannot be read: {clean(str(error), 200)}"),)
        ) from error
    ours = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(ours) != 1:
        _refuse_bare_spec(text, documents)
        kinds = [_kind_of(document) for document in documents]
        more = f", and {len(kinds) - _KINDS_SHOWN} more" if len(kinds) > _KINDS_SHOWN else ""
        found = ", ".join(kinds[:_KINDS_SHOWN]) + more or "nothing"
        raise ManifestError((ManifestProblem("kind", f"expected exactly one {KIND} in the manifest, found {found}"),))
    given = {key: value for key, value in ours[0].items() if key != "status"}
    experiment = read_object(given)
    unusable = tuple(
        ManifestProblem(path, "has a NUL character, which is not allowed in paths and arguments")
        for path in _nuls(given)
    )
    if unusable:
        raise ManifestError(unusable)
    return experiment


def _worded(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, KeyTwice):
        return f"{error.problem} (first in line {error.first_line})"
    return "a key must be a string" if isinstance(error, KeyNotPlain) else str(error.problem or error)


def _nuls(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of fields whose text has a NUL character."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _nuls(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _nuls(item, f"{path}[{index}]")
    elif isinstance(value, str) and "\x00" in value:
        yield path


def _kind_of(document: object) -> str:
    if not isinstance(document, dict):
        return f"a document that is a {type(document).__name__}, not a mapping"
    kind = document.get("kind")
    return one_line(kind, 80) if isinstance(kind, str) else "no kind" if kind is None else _shown(kind)


def _refuse_bare_spec(text: str, documents: Sequence[object] = ()) -> None:
    """Raise if the text of a manifest is an experiment spec, as the trainer's tasks read it."""
    if looks_like_prototxt(text) and not any(isinstance(item, dict) and "kind" in item for item in documents):
        raise ManifestError((ManifestProblem("", f"is a prototxt spec, not a manifest; {_IMPORT}"),))
    if any(map(_is_bare_spec, documents)):
        raise ManifestError((ManifestProblem("", f"is an experiment spec, not a manifest; {_IMPORT}"),))


def _is_bare_spec(document: object) -> bool:
    """Return whether a document has fields of ``spec.experiment`` at its top level."""
    if not isinstance(document, dict) or "kind" in document or "apiVersion" in document:
        return False
    known = {key for name, field in ExperimentSpec.model_fields.items() for key in (name, field.alias)}
    return not known.isdisjoint(key for key in document if isinstance(key, str))


def read_object(value: Mapping[str, Any]) -> MaskRCNNExperiment:
    """Return an object from YAML or an API server as a typed experiment.

    Raises:
        ManifestError: the object has problems; lists all of them, each with its field as the user wrote it.
    """
    version = value.get("apiVersion")
    if version != API_VERSION:
        ours = isinstance(version, str) and version.startswith(GROUP)
        hint = f"this release reads {API_VERSION}" if ours else f"must be {API_VERSION}"
        raise ManifestError((ManifestProblem("apiVersion", f"found {_shown(version)}; {hint}"),))
    text = _as_json(value)
    try:
        # an API server accepts only the names in camelCase
        experiment = MaskRCNNExperiment.model_validate_json(
            text, context=WITHOUT_RULES, strict=True, by_alias=True, by_name=False
        )
    except ValidationError as error:
        raise ManifestError(tuple(_distinct_problems(error.errors(include_url=False)))) from error
    rules = (_rule_problem(rule) for rule in check_rules(experiment.spec.experiment))
    problems = (*rules, *url_problems(experiment))
    if problems:
        raise ManifestError(problems)
    return experiment


def _as_json(value: Mapping[str, Any]) -> str:
    """Return the object as JSON, without nulls.

    Raises:
        ManifestError: a part of it is too deep or too large, or JSON has no form for a value.
    """
    try:
        problems = tuple(opaque_problems(value))
        text = "" if problems else json.dumps(value, default=str)
        if "null" in text:
            text = json.dumps(_without_nulls(value), default=str)
    except RecursionError:
        raise _too_deep() from None
    except (ValueError, TypeError) as error:  # an integer with thousands of digits, a key that isn't a string
        raise ManifestError((ManifestProblem("", f"cannot be written as JSON: {error}"),)) from error
    if problems:
        raise ManifestError(problems)
    return text


def _too_deep() -> ManifestError:
    return ManifestError((ManifestProblem("", "is nested too deeply"),))


def _without_nulls(value: Any) -> Any:
    """Return a value without nulls: an API server treats a field with null as absent."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def _rule_problem(rule: SpecProblem) -> ManifestProblem:
    return ManifestProblem(f"spec.experiment.{rule.field or dotted(rule.path)}", rule.message)


def _distinct_problems(errors: list[ErrorDetails]) -> Iterator[ManifestProblem]:
    """Yield the problems of a manifest; a misspelled name is one problem, not also a missing field."""
    unknown = {details["loc"]: unknown_name(details["loc"]) for details in errors if _is_unknown(details)}
    missing = {details["loc"] for details in errors if details["type"] == "missing"}
    for loc, name in unknown.items():
        elsewhere = [field for field in missing if field[-1] == loc[-1]]
        if name.meant is None and elsewhere:
            place = field_path(elsewhere[0][:-1])
            unknown[loc] = UnknownName(elsewhere[0], f"unknown field; it belongs in {place or 'the manifest'}")
    meant = {name.meant for name in unknown.values() if name.meant is not None}
    for details in errors:
        if _is_unknown(details):
            yield replace(details_problem(details), message=unknown[details["loc"]].message)
        elif details["type"] != "missing" or not is_within(details["loc"], meant):
            yield details_problem(details)


def _is_unknown(details: ErrorDetails) -> bool:
    return details["type"] == "extra_forbidden"


def details_problem(details: ErrorDetails, prefix: str = "") -> ManifestProblem:
    """Return one of pydantic's errors as a problem; ``prefix`` is the path of the validated object."""
    # the branch of a union is not a field that the user wrote
    parts = tuple(
        part for part in details["loc"] if isinstance(part, int) or re.fullmatch(r"[A-Za-z][A-Za-z0-9./_-]*", part)
    )
    path = field_path(parts)
    field = f"{prefix}.{path}" if prefix and path else prefix or path
    return ManifestProblem(field, _explained(details))


def _explained(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return "unknown field; check its name and indentation"
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    if kind == "string_pattern_mismatch":
        right = _PATTERNS.get(str(context.get("pattern")), f"must match {context.get('pattern')}")
        return f"found {_shown(details['input'])}; it {right}"
    return f"found {_shown(details['input'])}; it {what_is_right(details)}"


_PATTERNS = {
    OBJECT_NAME_PATTERN: "must be lowercase letters, digits, '-', and '.', with a letter or digit at both ends",
    LABEL_VALUE_PATTERN: "must be letters, digits, '-', '.', and '_', with a letter or digit at both ends",
    QUANTITY_PATTERN: "must be a Kubernetes quantity, such as 4, 500m, or 16Gi",
    PATH_OR_URL_PATTERN: PATH_OR_URL,
    EXPERIMENT_NAME_PATTERN: "must be lowercase letters, digits, and '-', with a letter first and no '-' last",
    STEP_NAME_PATTERN: "must be lowercase letters, digits, and '-', with a letter or digit at both ends",
}
"""Message for a text that does not match a pattern."""


def _shown(value: object) -> str:
    return clean(shown(value), 80)
