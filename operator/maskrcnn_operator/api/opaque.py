"""Limits on depth and size for the parts of podOverrides that Kubernetes defines, and for podOverrides of a step.

The API server accepts any JSON for them: nested 10,000 levels deep, and as large as an object may be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from maskrcnn_operator.api.problems import ManifestProblem

MAX_LEVELS = 100
"""Maximum number of nested objects and lists; the fields of a pod have fewer than ten levels."""
MAX_BYTES = 64 * 1024
"""Maximum size of a field as JSON, in bytes; for a list, of all entries together."""
MAX_MEMBERS = 16
"""Maximum number of fields of one part. Kubernetes uses at most 7 (a volumeMount); a volume has one source."""

_FIELD = "spec.podOverrides"
_NESTING = (dict, list, tuple)


def opaque_problems(value: object) -> Iterator[ManifestProblem]:
    """Yield the parts of a manifest, or of an API server's object, that are too deep or too large to be read."""
    spec = _part(value, "spec")
    for name, parts in _fields(_part(spec, "podOverrides")):
        yield from _problems(f"{_FIELD}.{name}", [(f"{_FIELD}.{path}", part) for path, part in parts])
    for index, step in enumerate(_list(_part(spec, "steps"))):
        field = f"spec.steps[{index}].podOverrides"
        yield from _problems(field, [(field, _part(step, "podOverrides"))])


def _problems(field: str, parts: Sequence[tuple[str, object]]) -> Iterator[ManifestProblem]:
    """Yield the parts of a field that are too deep, or one problem if all parts together are too large."""
    too_deep = [path for path, part in parts if _deeper_than(part, MAX_LEVELS)]
    for path in too_deep:
        yield ManifestProblem(path, f"is nested too deeply: at most {MAX_LEVELS} levels")
    size = 0 if too_deep else sum(_size(part) for _, part in parts)
    if size > MAX_BYTES:
        yield ManifestProblem(field, f"has {size} bytes as JSON: at most {MAX_BYTES}")


def _fields(overrides: object) -> Iterator[tuple[str, Sequence[tuple[str, object]]]]:
    """Yield each field with its parts and their paths."""
    yield "affinity", [("affinity", _part(overrides, "affinity"))]
    for name in ("volumes", "volumeMounts"):
        yield name, [(f"{name}[{index}]", part) for index, part in enumerate(_list(_part(overrides, name)))]
    variables = enumerate(_list(_part(overrides, "env")))
    yield "env", [(f"env[{index}].valueFrom", _part(variable, "valueFrom")) for index, variable in variables]


def _part(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _deeper_than(value: object, levels: int) -> bool:
    """Return whether objects and lists are nested more than ``levels`` deep, without recursion."""
    # only objects and lists are followed: a list may have half a million numbers
    level = [value] if isinstance(value, _NESTING) else []
    for _ in range(levels):
        level = [child for part in level for child in _children(part) if isinstance(child, _NESTING)]
        if not level:
            return False
    return any(level)


def _children(part: object) -> Iterable[object]:
    if isinstance(part, dict):
        return part.values()
    return part if isinstance(part, list | tuple) else ()


def _size(part: object) -> int:
    if part is None:
        return 0
    return len(json.dumps(part, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass"))
