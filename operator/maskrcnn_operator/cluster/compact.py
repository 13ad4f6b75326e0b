"""What a model weighs in the cache, where thousands of them stay.

Pydantic keeps in each model the set of the fields that were given: half of what an experiment weighs. Frozen models of
the same fields can share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)


def compact(model: Model) -> Model:
    """The same model, frozen, whose parts share the sets of given fields with every other compact model."""
    _compact(model)
    return model


def _compact(value: Any) -> None:
    if isinstance(value, BaseModel):
        shared = _same_set(frozenset(value.model_fields_set))
        if value.__pydantic_fields_set__ is not shared:
            object.__setattr__(value, "__pydantic_fields_set__", shared)
        for part in value.__dict__.values():
            _compact(part)
    elif isinstance(value, tuple):
        for part in value:
            _compact(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            _compact(part)


@lru_cache(maxsize=4096)
def _same_set(names: frozenset[str]) -> set[str]:
    return set(names)
