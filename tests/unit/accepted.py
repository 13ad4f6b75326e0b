"""Validation of a status by the definition's schema, as the API server does it, as far as a status needs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from maskrcnn_operator.api.crd import resource_schema

STATUS: Mapping[str, Any] = resource_schema()["properties"]["status"]
_INT64 = range(-(2**63), 2**63)


def refused(value: object, schema: Mapping[str, Any] = STATUS, path: str = "status") -> Iterator[str]:
    """Yield the reasons for which the API server would refuse a value."""
    kind = schema["type"]
    if kind == "object":
        yield from _object(value, schema, path)
    elif kind == "array":
        yield from _array(value, schema, path)
    elif kind == "string":
        yield from _string(value, schema, path)
    elif kind == "integer":
        if type(value) is not int or value not in _INT64:
            yield f"{path}: no 64-bit integer: {type(value).__name__}"
        elif not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path}: out of range: {value}"
    else:
        yield f"{path}: type {kind} isn't supported in a status"


def _object(value: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path}: no object"
        return
    yield from (f"{path}.{name}: missing" for name in schema.get("required", ()) if name not in value)
    for name, item in value.items():
        yield from _string(name, {}, f"{path}'s key")
        part = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
        if part is None:
            yield f"{path}.{name}: unknown"
        else:
            yield from refused(item, part, f"{path}.{name}")


def _array(value: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: no list"
        return
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{path}: {len(value)} entries"
    for index, item in enumerate(value):
        yield from refused(item, schema["items"], f"{path}[{index}]")
    if schema.get("x-kubernetes-list-type") == "map":
        (key,) = schema["x-kubernetes-list-map-keys"]
        names = [item.get(key) for item in value]
        if len(set(names)) < len(names):
            yield f"{path}: the same {key} twice"


def _string(value: object, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{path}: no text"
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        yield f"{path}: a lone surrogate"
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{path}: {len(value)} characters"
    if value not in schema.get("enum", (value,)):
        yield f"{path}: none of {schema['enum']}"
    if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
        yield f"{path}: no time"
