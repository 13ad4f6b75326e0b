"""How often each caller may be heard."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class RateLimit:
    """Refuses what comes too often, by key. It remembers no more than ``max_keys`` keys.

    Args:
        interval: seconds between two calls on average.
        burst: calls at once after a quiet time.
        clock: seconds that only rise.
    """

    def __init__(self, interval: float, burst: int, clock: Callable[[], float], max_keys: int = 10_000) -> None:
        self._interval, self._clock, self._max_keys = interval, clock, max_keys
        self._tolerance = interval * (burst - 1)
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str) -> float:
        """Counts a call of ``key``: 0 where it is allowed, else the seconds until the next one would be."""
        now = self._clock()
        full_at = max(self._full_at.get(key, now), now)
        if full_at - now > self._tolerance:
            return full_at - now - self._tolerance
        self._full_at[key] = full_at + self._interval
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)
        return 0.0
