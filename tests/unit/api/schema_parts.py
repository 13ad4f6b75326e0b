"""Parts of a schema, by path."""

from __future__ import annotations

from collections.abc import Iterator

from maskrcnn_operator.api.schema import Schema


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield a written-out schema and every schema in it, each with its path, such as ``spec.steps[].name``."""
    yield path, schema
    for field, value in schema.get("properties", {}).items():
        yield from walk(value, f"{path}.{field}" if path else field)
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}{{}}")
