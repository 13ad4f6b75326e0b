"""Bodies of successful answers: JSON of the kind that was asked for, or an ApiError.

A load balancer or a proxy in front of the API server may answer 200 with a page of its own, and one object of a list
may be nested too deep for the parser. Callers retry ApiErrors; any other exception would end their task.

Whatever is nested too deeply in metadata, or in an object of a built-in kind, is below ``metadata.managedFields``,
which has a level for each level of the object and which users may write, too. It is left out, so that everything else
can be read.
"""

from __future__ import annotations

import json
from typing import Any

from maskrcnn_operator.cluster.errors import ApiError, api_error
from maskrcnn_operator.cluster.resources import EXPERIMENTS, Resource
from maskrcnn_operator.cluster.shallow import without_deep_values

UNDECODABLE = "UndecodableAnswer"
"""Reason of the ApiError."""
LONGEST_RETRY_SECONDS = 60.0
"""A server that asks for more is asked again after this: an account of ours isn't without it for longer."""
_QUOTED_BYTES = 200
_LEVELS = 100
"""Levels that are kept of an answer that cannot be parsed whole; built-in kinds have some 20."""


def decoded(status: int, text: bytes, verb: str, resource: Resource, *, metadata_only: bool = False) -> dict[str, Any]:
    """Return the object or the list of a successful answer.

    Args:
        verb: of the call, as the API server's RBAC has it.
        metadata_only: only metadata was asked for.

    Raises:
        ApiError: the body isn't the JSON of such an object; its reason is :data:`UNDECODABLE`.
    """
    # the spec of an experiment has fields of any depth, and is read whole or not at all
    may_leave_out = metadata_only or resource is not EXPERIMENTS
    try:
        answer = _parsed(text) if may_leave_out else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _undecodable(status, f"it can't be parsed as JSON ({type(error).__name__})", text) from error
    if not isinstance(answer, dict):
        raise _undecodable(status, f"it is a JSON {type(answer).__name__} instead of an object", text)
    missing = _missing(answer, verb, resource)
    if missing:
        raise _undecodable(status, f"it has no valid {missing}", text)
    return answer


def _parsed(text: bytes) -> Any:
    """Parse JSON; what is nested too deeply for that is null."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(without_deep_values(text, _LEVELS))


def retry_seconds(value: object) -> float | None:
    """Return the seconds of a Retry-After, at most :data:`LONGEST_RETRY_SECONDS`; None if it isn't a number of them."""
    if isinstance(value, str) and value.isdecimal():
        return min(float(value), LONGEST_RETRY_SECONDS)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        # the bound first: an integer of JSON may be too large for a float
        return float(min(value, LONGEST_RETRY_SECONDS))
    return None


def _missing(answer: dict[str, Any], verb: str, resource: Resource) -> str | None:
    """Return the first field that such an answer needs and doesn't have."""
    metadata = answer.get("metadata")
    if verb == "list":
        # an empty list of a built-in kind may be null
        listed = "items" in answer and isinstance(answer["items"], list | None)
        version = isinstance(metadata, dict) and _is_version(metadata.get("resourceVersion") or "0")
        return None if listed and version else "metadata.resourceVersion" if listed else "items"
    if resource.plural.endswith("reviews") or (verb == "delete" and answer.get("kind") == "Status"):
        return None
    if not isinstance(metadata, dict):
        return "metadata"
    for field in ("name", "uid"):
        if not (isinstance(metadata.get(field), str) and metadata[field]):
            return f"metadata.{field}"
    return None if _is_version(metadata.get("resourceVersion")) else "metadata.resourceVersion"


def _is_version(value: object) -> bool:
    # int() takes at most 4,300 digits
    return isinstance(value, str) and value.isdecimal() and len(value) <= 30


def _undecodable(status: int, problem: str, text: bytes) -> ApiError:
    quoted = text[:_QUOTED_BYTES].decode("utf-8", "replace")
    clean = "".join(char if char.isprintable() else " " for char in quoted)
    return api_error(status, UNDECODABLE, f"the answer isn't what was asked for: {problem}: {clean}")
