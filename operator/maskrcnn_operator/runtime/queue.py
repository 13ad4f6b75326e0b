"""Work queue with one entry per key, one worker per key at a time, fairness between lanes, and delays."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")

BACK_OFF_BASE = 0.1
BACK_OFF_LIMIT = 60.0


class WorkQueue(Generic[K]):
    """Work queue for one event loop.

    Lanes take turns: a key waits for at most one key of each other lane between two keys of its own.

    Args:
        lane: returns the lane of a key, such as its namespace.
        on_depth: called with the number of waiting keys whenever it changes.
        on_wait: called with the seconds that a key has waited since it was due.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        *,
        lane: Callable[[K], Hashable] = lambda _: None,
        on_depth: Callable[[int], None] = lambda _: None,
        on_wait: Callable[[float], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lane, self._on_depth, self._on_wait, self._clock = lane, on_depth, on_wait, clock
        self._ready: OrderedDict[Hashable, OrderedDict[K, float]] = OrderedDict()
        """Waiting keys in order, with the time since which they wait, by lane, next lane first. No lane is empty."""
        self._depth = 0
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._number = itertools.count()
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._depth

    def add(self, key: K) -> None:
        """Queue a key for now; if a worker has it, queue it again when the worker is done."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif not self._waits(key):
            self._ready.setdefault(self._lane(key), OrderedDict())[key] = self._clock()
            self._depth += 1
            self._on_depth(self._depth)
            self._changed.set()

    def add_all(self, keys: Iterable[K]) -> None:
        """Call :meth:`add` for each key."""
        for key in keys:
            self.add(key)

    def add_later(self, key: K, seconds: float) -> None:
        """Queue a key in ``seconds``, unless it is already due earlier or added earlier in the meantime."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._waits(key) or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._number), key))
        # outdated entries would stay until they are due, which may be days away
        if len(self._later) > 2 * len(self._due):
            self._later = [(at, next(self._number), waiting) for waiting, at in self._due.items()]
            heapq.heapify(self._later)
        self._set_timer()

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """Queue a failed key with exponential back-off, but at least ``at_least`` seconds; return the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait = min(BACK_OFF_LIMIT, BACK_OFF_BASE * 2.0 ** min(failures, 20))
        wait = max(at_least, wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        self._due.pop(key, None)
        self.add_later(key, wait)
        return wait

    def reset_back_off(self, key: K) -> None:
        """Reset the back-off of a key after a success."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Return the first key of the next lane, waiting for one; the caller must call :meth:`done` for it."""
        while not self._ready:
            self._changed.clear()
            await self._changed.wait()
        lane, keys = self._ready.popitem(last=False)
        key, since = keys.popitem(last=False)
        if keys:
            self._ready[lane] = keys
        self._depth -= 1
        self._working.add(key)
        self._on_depth(self._depth)
        self._on_wait(self._clock() - since)
        return key

    def done(self, key: K) -> None:
        """Mark the end of a worker's work on a key."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def clear(self) -> None:
        """Remove all keys except those that workers have."""
        self._ready.clear()
        self._depth = 0
        self._again.clear()
        self._later.clear()
        self._due.clear()
        self._failures.clear()
        self._on_depth(0)

    def _waits(self, key: K) -> bool:
        return key in self._ready.get(self._lane(key), ())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._later:
            wait = max(0.0, self._later[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            # a key that was added for an earlier time in the meantime has another due time, or none
            if self._due.get(key) == due:
                self.add(key)
        self._set_timer()
