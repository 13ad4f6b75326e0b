"""Defaults and bounds of a field in words, for tables and descriptions."""

from __future__ import annotations

import json
from typing import Any

from maskrcnn_operator.api.schema import Schema


def number(value: float) -> str:
    """Return a number as text, without an empty fraction."""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**63 else repr(value)


def default_in_words(schema: Schema) -> str:
    """Return text such as ``Default 0.9``; empty without a default."""
    if "default" not in schema or schema["default"] == {}:
        return ""
    return f"Default {_literal(schema['default'])}"


def _literal(value: Any) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value) if value == "" or not isinstance(value, str) else value


def bounds_in_words(schema: Schema) -> str:
    """Return text such as ``1 to 1024``, ``at least 0, less than 1``, or ``at most 64 entries, each at least 1``.

    The text is empty for a field without bounds.
    """
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _range(schema)
    if kind == "string" and "maxLength" in schema and "enum" not in schema:
        return f"at most {schema['maxLength']} characters"
    if kind == "array":
        within = bounds_in_words(schema["items"])
        each = f", each {within}" if within else ""
        return _count(schema.get("minItems"), schema.get("maxItems"), "entries") + each
    if kind == "object" and "maxProperties" in schema:
        return f"at most {schema['maxProperties']} entries"
    return ""


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    open_low, open_high = schema.get("exclusiveMinimum", False), schema.get("exclusiveMaximum", False)
    if low is not None and high is not None and not open_low and not open_high:
        return number(low) if low == high else f"{number(low)} to {number(high)}"
    parts = []
    if low is not None:
        parts.append(f"{'more than' if open_low else 'at least'} {number(low)}")
    if high is not None:
        parts.append(f"{'less than' if open_high else 'at most'} {number(high)}")
    return ", ".join(parts)


def _count(least: int | None, most: int | None, what: str) -> str:
    if least is not None and least == most:
        return f"{least} {what}"
    if least:
        return f"{least} to {most} {what}"
    return f"at most {most} {what}" if most is not None else ""


def described(schema: Schema) -> Schema:
    """Return a written-out schema with the default and the bounds of each field added to its description.

    ``kubectl explain`` shows only types, enumerations, and descriptions.
    """
    found = dict(schema)
    added = ", ".join(part for part in (default_in_words(schema), bounds_in_words(schema)) if part)
    if added and "description" in schema:
        found["description"] = f"{schema['description']} {added[:1].upper()}{added[1:]}."
    if "items" in found:
        found["items"] = described(found["items"])
    if "properties" in found:
        found["properties"] = {field: described(value) for field, value in found["properties"].items()}
    return found
