"""A queue of keys: each stands there at most once, is worked on by one worker at a time, and may be put off."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")

BACK_OFF_BASE = 0.1
BACK_OFF_LIMIT = 60.0


class WorkQueue(Generic[K]):
    """For one event loop.

    Args:
        on_depth: told how many keys wait, whenever that changes.
        on_wait: told for how many seconds a key has waited after it was due.
        clock: seconds since any fixed moment, never going back.
    """

    def __init__(
        self,
        *,
        on_depth: Callable[[int], None] = lambda depth: None,
        on_wait: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_depth, self._on_wait, self._clock = on_depth, on_wait, clock
        self._ready: OrderedDict[K, float] = OrderedDict()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._number = itertools.count()
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: K) -> None:
        """The key is to be worked on now; once more after that where somebody works on it."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = self._clock()
            self._on_depth(len(self._ready))
            self._changed.set()

    def add_all(self, keys: Iterable[K]) -> None:
        """:meth:`add` for each."""
        for key in keys:
            self.add(key)

    def add_later(self, key: K, seconds: float) -> None:
        """The key is to be worked on in ``seconds``, or earlier where something else asks for it."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if key in self._ready or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._number), key))
        self._set_timer()

    def retry(self, key: K, at_least: float = 0.0) -> float:
        """Puts a key off that could not be worked on: longer each time, and at least so long; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait = min(BACK_OFF_LIMIT, BACK_OFF_BASE * 2.0 ** min(failures, 20))
        wait = max(at_least, wait * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        self._due.pop(key, None)
        self.add_later(key, wait)
        return wait

    def forgive(self, key: K) -> None:
        """The key was worked on well: its next back-off begins anew."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The key that has waited longest; :meth:`done` is to be called for it."""
        while not self._ready:
            self._changed.clear()
            await self._changed.wait()
        key, since = self._ready.popitem(last=False)
        self._working.add(key)
        self._on_depth(len(self._ready))
        self._on_wait(self._clock() - since)
        return key

    def done(self, key: K) -> None:
        """Nobody works on the key any more."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def clear(self) -> None:
        """Forgets everything but what is being worked on."""
        self._ready.clear()
        self._again.clear()
        self._later.clear()
        self._due.clear()
        self._failures.clear()
        self._on_depth(0)

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
            # what was asked for earlier in the meantime has another due time, or none
            if self._due.get(key) == due:
                self.add(key)
        self._set_timer()
