"""Compact models for the cache, where thousands of them stay.

Pydantic keeps in each model the set of the fields that were given: half of the memory of an experiment. Frozen models
of the same fields can share one. Of models of which no field was given, which have nothing but defaults, one is enough.
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
"""Sets beyond it, which only manifests made for it would need, are not shared."""
_DEFAULTS: dict[type[BaseModel], BaseModel] = {}
"""Of each type, the model of which no field was given."""
_PLAIN = frozenset({str, int, float, bool, type(None), datetime})


def compact(model: M) -> M:
    """Return the same model, frozen, whose parts share the sets of given fields with every other compact model.

    Of a copy of a compact model only what is new in it is looked at.
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
