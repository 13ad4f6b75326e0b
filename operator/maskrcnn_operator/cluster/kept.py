"""Bounded cache of values that can be computed again."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ADMITTED = 1 / 8
"""Fraction of new keys that are admitted to a full cache.

All keys are looked up in rounds. With N keys and room for C, the least recently used key is the next one to be looked
up, so evicting it gives no hits at all if N > C. Admitting few keys gives a hit rate of nearly C / N.
"""


class Kept(Generic[K, V]):
    """At most ``room`` values by key. If it is full, a new key replaces a random one, or is not stored."""

    def __init__(self, room: int) -> None:
        self._room, self._random = room, random.Random(0)  # noqa: S311 - nothing secret
        self._values: dict[K, V] = {}
        self._keys: list[K] = []
        self._places: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: K) -> V | None:
        """Return the value of a key; None if it is not stored."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Store a value; if the cache is full, a new key may be dropped."""
        if key not in self._values:
            if len(self._keys) >= self._room:
                if self._random.random() >= _ADMITTED:
                    return
                self.drop(self._keys[self._random.randrange(len(self._keys))])
            self._places[key] = len(self._keys)
            self._keys.append(key)
        self._values[key] = value

    def drop(self, key: K) -> None:
        """Remove the value of a key, if it is stored."""
        if key not in self._values:
            return
        del self._values[key]
        place, last = self._places.pop(key), self._keys.pop()
        if last != key:
            self._keys[place], self._places[last] = last, place
