"""Structural OpenAPI schemas of the resource's types: each type by name, and one type written out in full.

A CustomResourceDefinition allows neither ``$ref`` nor ``null`` nor a choice of types, and prunes unknown fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.rules import PATTERN_RULES, rules_of
from maskrcnn_operator.api.status import INT32_MAX

Schema = dict[str, Any]

_REF = "#/$defs/"

LIST_KEYS: Mapping[tuple[str, str], str] = {
    ("ExperimentBody", "steps"): "name",
    ("ExperimentBody", "objectStores"): "prefix",
    ("PodOverrides", "imagePullSecrets"): "name",
    ("PodOverrides", "env"): "name",
    ("ExperimentStatus", "conditions"): "type",
}
"""Lists whose entries server-side apply merges by a key; all other lists are replaced as a whole.

Lists in the status have one writer each, except for the conditions. Merging such a list by a key would record an owner
of every field of every step in ``metadata.managedFields``, and more than double the cost of a write to the API server.
"""

QUANTITIES = frozenset({("ResourceRequirements", "requests"), ("ResourceRequirements", "limits")})
"""Maps whose values are Kubernetes quantities: strings or whole numbers."""

_KEPT = (
    "type",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "maxProperties",
)


def definitions() -> dict[str, Schema]:
    """Return the schema of every type of the resource, by name; a field of another type is ``{"$ref": its name}``."""
    whole = MaskRCNNExperiment.model_json_schema(by_alias=True)
    parts = {**whole.pop("$defs", {}), MaskRCNNExperiment.__name__: whole}
    return {name: _type(name, part) for name, part in parts.items()}


def _type(name: str, part: Schema) -> Schema:
    if "properties" not in part and part.get("type") != "object":
        return _plain(part)
    found: Schema = {"type": "object"}
    if part.get("description"):
        found["description"] = " ".join(part["description"].split())
    if part.get("required"):
        found["required"] = list(part["required"])
    if rules := rules_of(name):
        found["x-kubernetes-validations"] = [rule.to_schema() for rule in rules]
    properties = {field: _field(name, field, schema) for field, schema in part.get("properties", {}).items()}
    if properties:
        found["properties"] = properties
    return found


def _field(owner: str, name: str, schema: Schema) -> Schema:
    found: Schema = {"description": schema["description"]} if "description" in schema else {}
    found |= _plain(_without_null(schema))
    default = schema.get("default")
    if "$ref" in found and default is not None:
        found["default"] = {}  # the API server fills in the defaults of its fields
    elif default not in (None, [], {}):  # an absent list or map is an empty one, so it needs no default
        found["default"] = default
    if (owner, name) in QUANTITIES:
        found["additionalProperties"] = {
            "x-kubernetes-int-or-string": True,
            **{key: value for key, value in found["additionalProperties"].items() if key != "type"},
        }
    if found.get("type") == "array":
        _name_list_type(owner, name, found)
    rules = rules_of(owner, name)
    if found.get("pattern") in PATTERN_RULES:
        rules = (PATTERN_RULES[found.pop("pattern")], *rules)
    if rules:
        found["x-kubernetes-validations"] = [rule.to_schema() for rule in rules]
    return found


def _name_list_type(owner: str, name: str, found: Schema) -> None:
    key = LIST_KEYS.get((owner, name))
    found["x-kubernetes-list-type"] = "map" if key else "atomic"
    if key:
        found["x-kubernetes-list-map-keys"] = [key]
    if found["items"].get("type") == "array":
        found["items"]["x-kubernetes-list-type"] = "atomic"


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a field's value when it is present."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if not choices:
        return rest
    empty = {"const": "", "type": "string"}
    if empty in choices and len(choices) == 2:
        other = next(choice for choice in choices if choice != empty)
        return rest | {
            **{key: value for key, value in other.items() if key != "minLength"},
            "pattern": f"^({other['pattern'].removeprefix('^').removesuffix('$')})?$",
        }
    if len(choices) > 1:
        raise TypeError(f"a field of a custom resource has one type, not {choices}")
    return {**rest, **choices[0]}


def _plain(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"$ref": schema["$ref"].removeprefix(_REF)}
    found: Schema = {key: schema[key] for key in _KEPT if key in schema}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if "enum" in schema:
        found["enum"] = list(schema["enum"])
    for bound in ("Minimum", "Maximum"):
        limit = schema.get(f"exclusive{bound}")
        if limit is not None:
            found[bound.lower()] = limit
            found[f"exclusive{bound}"] = True
    if found.get("type") == "integer" and "enum" not in found and found.get("maximum", INT32_MAX + 1) > INT32_MAX:
        found["format"] = "int64"
    if found.get("type") == "array":
        found["items"] = _plain(schema["items"])
    if found.get("type") == "object":
        found |= _open_or_map(schema)
    return found


def _open_or_map(schema: Schema) -> Schema:
    """Return the part of an object's schema about its fields: any fields, of which some are described, or a map."""
    values = schema.get("additionalProperties", True)
    if values is not True:
        return {"additionalProperties": _plain(values)}
    known = {
        name: {"description": part["description"], **_plain(part)}
        for name, part in schema.get("properties", {}).items()
    }
    return {"x-kubernetes-preserve-unknown-fields": True, **({"properties": known} if known else {})}


def written_out(types: Mapping[str, Schema], name: str) -> Schema:
    """Return the schema of a type with every reference to a type replaced by its schema."""
    return _expanded(types, {"$ref": name})


def _expanded(types: Mapping[str, Schema], schema: Schema) -> Schema:
    if "$ref" in schema:
        outer = {key: value for key, value in schema.items() if key != "$ref"}
        return _expanded(types, types[schema["$ref"]] | outer)
    found = {key: schema[key] for key in sorted(schema, key=_position)}
    if "items" in found:
        found["items"] = _expanded(types, found["items"])
    if "additionalProperties" in found:
        found["additionalProperties"] = _expanded(types, found["additionalProperties"])
    if "properties" in found:
        found["properties"] = {field: _expanded(types, value) for field, value in found["properties"].items()}
    return found


def _position(key: str) -> int:
    """Return the sort position of a schema's key: description and type first, nested schemas last."""
    first = ("description", "type", "format", "enum", "default")
    last = ("x-kubernetes-validations", "required", "properties", "items", "additionalProperties")
    return first.index(key) if key in first else 2 * len(first) + last.index(key) if key in last else len(first)
