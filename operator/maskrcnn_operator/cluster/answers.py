"""Decoding of successful responses: JSON of the requested kind, or an ApiError.

A load balancer or a proxy in front of the API server may respond with 200 and a page of its own, and one object of a
list may be nested too deeply for the parser. Callers retry ApiErrors; any other exception would end their task.

In metadata and in objects of built-in kinds, only ``metadata.managedFields`` can be nested too deeply: it has a level
for each level of the object, and users can write it, too. It is left out, so that the rest can be read.
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
"""Longest Retry-After that is followed: a longer one would leave the operator without its API server for too long."""
_QUOTED_BYTES = 200
_LEVELS = 100
"""Levels that are kept of a response that cannot be parsed whole; built-in kinds have about 20."""


def decoded(status: int, text: bytes, verb: str, resource: Resource, *, metadata_only: bool = False) -> dict[str, Any]:
    """Return the object or the list in the body of a successful response.

    Args:
        status: HTTP status, for the error.
        text: the body.
        verb: verb of the call in RBAC's terms.
        resource: kind of the object, or of the list's items.
        metadata_only: only the metadata was requested.

    Raises:
        ApiError: the body isn't JSON of such an object; the error's reason is :data:`UNDECODABLE`.
    """
    # the spec of an experiment has fields of any depth, so it is read whole or not at all
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
    """Parse JSON; values that are nested too deeply become null."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(without_deep_values(text, _LEVELS))


def retry_seconds(value: object) -> float | None:
    """Return the seconds of a Retry-After, at most :data:`LONGEST_RETRY_SECONDS`; None if it isn't a number."""
    if isinstance(value, str) and value.isdecimal():
        return min(float(value), LONGEST_RETRY_SECONDS)
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        # min before float: an integer in JSON may be too large for a float
        return float(min(value, LONGEST_RETRY_SECONDS))
    return None


def _missing(answer: dict[str, Any], verb: str, resource: Resource) -> str | None:
    """Return the first required field that a response lacks."""
    metadata = answer.get("metadata")
    if verb == "list":
        # items of an empty list of a built-in kind may be null
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
    # int() accepts at most 4,300 digits
    return isinstance(value, str) and value.isdecimal() and len(value) <= 30


def _undecodable(status: int, problem: str, text: bytes) -> ApiError:
    quoted = text[:_QUOTED_BYTES].decode("utf-8", "replace")
    clean = "".join(char if char.isprintable() else " " for char in quoted)
    return api_error(status, UNDECODABLE, f"unexpected response body: {problem}: {clean}")
