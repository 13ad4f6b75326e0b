"""Memory-saving representation of cached models.

Pydantic stores in each model the set of fields that were given, which takes half of the memory of an experiment. Frozen
models with the same given fields can share one set, and models that have only defaults can be one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


_SHARED: dict[frozenset[str], set[str]] = {}
_IDENTITIES: set[int] = set()
_MOST = 4096
"""Most shared sets; only manifests made for this purpose would need more."""
_DEFAULTS: dict[type[BaseModel], BaseModel] = {}
"""For each type, the model that has only defaults."""
_PLAIN = frozenset({str, int, float, bool, type(None), datetime})


def compact(model: M) -> M:
    """Return the same frozen model after its parts were made to share sets of given fields with other compact models.

    In a copy of a compact model, only the new parts are visited.
    """
    _compact(model)
    return model


def _compact(value: Any) -> None:
    if value.__class__ in _PLAIN:
        return
    if isinstance(value, BaseModel):
        _compact_model(value)
    elif isinstance(value, tuple):
        for part in value:
            _compact(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            _compact(part)


def _compact_model(model: BaseModel) -> None:
    given = model.__pydantic_fields_set__
    if id(given) in _IDENTITIES:
        return
    fields = model.__dict__
    for name, part in fields.items():
        if isinstance(part, BaseModel) and not part.__pydantic_fields_set__:
            fields[name] = _DEFAULTS.setdefault(part.__class__, part)
        _compact(fields[name])
    shared = _shared(frozenset(given))
    if shared is not None:
        object.__setattr__(model, "__pydantic_fields_set__", shared)


def _shared(given: frozenset[str]) -> set[str] | None:
    shared = _SHARED.get(given)
    if shared is None and len(_SHARED) < _MOST:
        shared = _SHARED[given] = set(given)
        _IDENTITIES.add(id(shared))
    return shared
