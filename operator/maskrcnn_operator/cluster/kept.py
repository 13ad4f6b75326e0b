"""Values that are worth keeping and can be made again: as many as there is room for."""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ADMITTED = 1 / 8
"""Part of the new keys that are let in where there is no room.

Keys are looked up in turns, all of them each time. Of N keys and room for C, the least recently used one would be the
next to be looked up: evicting it gives no hit at all as soon as N > C. Letting few in gives nearly C / N.
"""


class Kept(Generic[K, V]):
    """At most ``room`` values by key. In a full one, a new key takes the place of a random one, or is not kept."""

    def __init__(self, room: int) -> None:
        self._room, self._random = room, random.Random(0)  # noqa: S311 - nothing secret
        self._values: dict[K, V] = {}
        self._keys: list[K] = []
        self._places: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: K) -> V | None:
        """Return the value of a key; None where it is not kept."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value, if there is room for it."""
        if key not in self._values:
            if len(self._keys) >= self._room:
                if self._random.random() >= _ADMITTED:
                    return
                self.drop(self._keys[self._random.randrange(len(self._keys))])
            self._places[key] = len(self._keys)
            self._keys.append(key)
        self._values[key] = value

    def drop(self, key: K) -> None:
        """Forget the value of a key, if it is kept."""
        if key not in self._values:
            return
        del self._values[key]
        place, last = self._places.pop(key), self._keys.pop()
        if last != key:
            self._keys[place], self._places[last] = last, place
