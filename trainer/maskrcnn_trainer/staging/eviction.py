"""Choice of cached objects that make room for others: those used least recently, and none that a process has staged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CachedObject:
    """Object in a cache.

    Attributes:
        name: in the cache, see `cache_names`.
        size: in bytes.
        used: last time that a process staged it, in seconds by the file system's clock.
        is_staged: whether a process has it staged, which is shown by another hard link to it.
    """

    name: str
    size: int
    used: float
    is_staged: bool


@dataclass(frozen=True, slots=True)
class Eviction:
    """Objects to remove from a cache.

    Attributes:
        names: the least recently used first.
        missing: bytes that are still too many after that; 0 if the new objects fit.
    """

    names: tuple[str, ...]
    missing: int


def evict_for(objects: Iterable[CachedObject], *, needed: int, limit: int) -> Eviction:
    """Return the objects to remove so that ``needed`` more bytes fit into a cache of ``limit`` bytes.

    If they don't fit without what processes have staged, nothing is removed, since it would not help.

    Args:
        objects: everything in the cache.
        needed: bytes to add, at least 0.
        limit: of the cache in bytes.
    """
    by_use = sorted(objects, key=lambda one: (one.used, one.name))
    excess = sum(one.size for one in by_use) + needed - limit
    if excess <= 0:
        return Eviction((), 0)
    free = sum(one.size for one in by_use if not one.is_staged)
    if free < excess:
        return Eviction((), excess - free)
    names: list[str] = []
    for one in by_use:
        if excess > 0 and not one.is_staged and one.size > 0:
            names.append(one.name)
            excess -= one.size
    return Eviction(tuple(names), 0)
