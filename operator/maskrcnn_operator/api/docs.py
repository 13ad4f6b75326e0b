"""Reference of the resource, generated from the types: ``python -m maskrcnn_operator.api.docs [--check FILE]``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskrcnn_operator.api.base import API_VERSION, KIND, PLURAL, SHORT_NAME
from maskrcnn_operator.api.bounds import bounds_in_words, default_in_words
from maskrcnn_operator.api.crd import COLUMNS
from maskrcnn_operator.api.experiment import ExperimentBody
from maskrcnn_operator.api.generated import write_or_check
from maskrcnn_operator.api.schema import Schema, definitions
from maskrcnn_operator.api.status import ExperimentStatus
from maskrcnn_operator.api.step_rules import RULES_OF_THE_GRAPH

PARTIAL = "Partial"
"""How the names of the types of a step's ``experiment`` begin."""


def reference() -> str:
    """The reference as Markdown, the same text every time."""
    types = definitions()
    spec = list(_reachable(types, ExperimentBody.__name__))
    status = list(_reachable(types, ExperimentStatus.__name__))
    lines = [
        f"# {KIND}",
        "",
        "<!-- Made by `make manifests` from the types in operator/maskrcnn_operator/api. Do not edit. -->",
        "",
        f"`apiVersion: {API_VERSION}`, `kind: {KIND}`; `kubectl get {PLURAL}`, for short `kubectl get {SHORT_NAME}`. "
        f"The same words are shown by `kubectl explain {SHORT_NAME}.spec`.",
        "",
        "An absent field has its default; null is the same as absent. Fields marked with * are required. The rules "
        "under a table are checked by the API server when a manifest is applied; those between steps, under `spec`, by "
        "the operator, which puts what is wrong into the condition Stalled (reason InvalidSpec), each problem with its "
        "field. The API server fills no default into `spec.experiment` and into lists: `kubectl get -o yaml` shows "
        "what was applied.",
        "",
        "## spec",
    ]
    lines += ["", "Rules:", "", *(f"- {_text(rule)}" for rule in _messages(types[KIND]))]
    lines += ["", "Between the steps, checked by the operator:", "", *(f"- {rule}" for rule in RULES_OF_THE_GRAPH)]
    for name in spec:
        lines += _section(types, name, with_bounds=True)
    lines += ["", "## status", "", "Written by the operator alone."]
    for name in status:
        lines += _section(types, name, with_bounds=False)
    return "\n".join([*lines, *_columns(), ""])


def _reachable(types: Mapping[str, Schema], name: str) -> Iterator[str]:
    """A type and those that it is made of, each once, in the order of the fields; partial ones left out."""
    seen: list[str] = []

    def visit(current: str) -> None:
        if current in seen or current.startswith(PARTIAL) or "enum" in types[current]:
            return
        seen.append(current)
        for field in types[current].get("properties", {}).values():
            for part in (field, field.get("items", {}), field.get("additionalProperties", {})):
                if "$ref" in part:
                    visit(part["$ref"])

    visit(name)
    return iter(seen)


def _section(types: Mapping[str, Schema], name: str, *, with_bounds: bool) -> list[str]:
    schema = types[name]
    lines = ["", f"### {name}", "", _text(schema.get("description", ""))]
    fields = schema.get("properties", {})
    if not fields:
        return [*lines, "", "It has no fields: write `{}`."]
    head = "| Field | Type | Default and bounds | Description |" if with_bounds else "| Field | Type | Description |"
    lines += ["", head, "|---|---|---|---|" if with_bounds else "|---|---|---|"]
    for field, value in fields.items():
        star = "*" if with_bounds and field in schema.get("required", ()) else ""
        cells = [f"`{field}`{star}", _type(types, value)]
        if with_bounds:
            cells.append(_cell(_limits(value)))
        lines.append(f"| {' | '.join([*cells, _cell(value.get('description', ''))])} |")
    rules = [*_messages(schema), *(rule for item in fields.items() for rule in _field_messages(*item))]
    if rules:
        lines += ["", "Rules:", "", *(f"- {_text(rule)}" for rule in rules)]
    return lines


def _messages(schema: Schema) -> list[str]:
    return [rule["message"] for rule in schema.get("x-kubernetes-validations", ())]


def _field_messages(field: str, schema: Schema) -> list[str]:
    return [rule if field in rule else f"{field}: {rule}" for rule in _messages(schema)]


def _limits(schema: Schema) -> str:
    parts = (default_in_words(schema).removeprefix("Default "), bounds_in_words(schema))
    return "; ".join(part for part in parts if part)


def _type(types: Mapping[str, Schema], schema: Schema) -> str:
    if "$ref" in schema and "enum" not in types[schema["$ref"]]:
        name = schema["$ref"]
        shown = name.removeprefix(PARTIAL)
        link = f"[{shown}](#{shown.lower()})"
        return f"any fields of {link}" if name.startswith(PARTIAL) else link
    choices = types[schema["$ref"]]["enum"] if "$ref" in schema else schema.get("enum")
    if choices:
        return " or ".join(f"`{choice}`" for choice in choices)
    for inner, shown in (("items", "list"), ("additionalProperties", "map")):
        if inner in schema:
            return f"{shown} of {_type(types, schema[inner])}"
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def _columns() -> list[str]:
    lines = ["", f"## Columns of `kubectl get {SHORT_NAME}`", ""]
    lines += ["[Reasons](reasons.md) explains each word of the column STATE.", "", "| Column | Shows |", "|---|---|"]
    for column in COLUMNS:
        wide = " (with `-o wide`)" if column.get("priority") else ""
        lines.append(f"| {column['name'].upper()}{wide} | {_cell(column.get('description', 'Time since creation.'))} |")
    return lines


def _text(value: str) -> str:
    return value.replace("``", "`").replace("<", "&lt;")


def _cell(value: Any) -> str:
    return _text(str(value)).replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reference to standard output, or compare it with a file; return the exit code."""
    return write_or_check(reference, arguments, module="maskrcnn_operator.api.docs", description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
