"""Budget of calls of the API server: one limit for all, and shares for what must not hold up reconciling."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from maskrcnn_operator.cluster.rate_limit import TokenBucket

_ROUNDING = 1e-6
"""Seconds by which a clock may be early: sums of floating-point seconds are not exact."""


class CallPurpose(Enum):
    """The reason for a call, which decides when it is made; the value is its name in metrics."""

    RECONCILE = "reconcile"
    LIST = "list"
    REVIEW = "review"
    PROGRESS = "progress"
    EVENT = "event"
    DIAGNOSIS = "diagnosis"
    URGENT = "urgent"


FIRST = (CallPurpose.RECONCILE, CallPurpose.LIST)
"""Made before all others, first come, first served. A list waits with one page at a time, so it delays reconciling by
one call each."""

SHARES: Mapping[CallPurpose, float] = {
    CallPurpose.REVIEW: 0.2,
    CallPurpose.PROGRESS: 0.2,
    CallPurpose.EVENT: 0.2,
    CallPurpose.DIAGNOSIS: 0.1,
}
"""Part of the limit that each of the others may use at most, and only while nothing of FIRST waits. What they may use
together leaves reconciling three tenths of the calls even in the moment before it asks. Of a limit of 50 a fifth is ten
a second: 2,000 running trainings need seven reviews (each token once in 300 s), and their progress is written at the
rate that there is. A tenth is five reads of events a second, so that 1,500 steps that cannot start are read every five
minutes."""


def rate_of(purpose: CallPurpose, qps: float) -> float:
    """Return the calls a second that ``purpose`` may make of a limit of ``qps``; 0 for no limit."""
    return SHARES.get(purpose, 1.0) * qps


@dataclass(eq=False)
class _Waiter:
    number: int
    admitted: asyncio.Future[None]


class CallBudget:
    """Holds callers back by purpose.

    A waiting call of FIRST goes before every other; calls of one purpose go first come, first served. The others share
    what is left, the one that has waited longest first, each up to its share. URGENT never waits and is not counted:
    a replica that renews its Lease late loses it.

    Args:
        qps: calls a second on average; 0 for no limit.
        burst: calls that may be made at once after a quiet time; each share has its part of it.
        clock, sleep: seconds that only rise, and waiting for them.
        on_wait: told of every call, with the seconds that it was held back.
    """

    def __init__(
        self,
        qps: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_wait: Callable[[CallPurpose, float], None] = lambda _purpose, _seconds: None,
    ) -> None:
        self._clock, self._sleep, self._on_wait = clock, sleep, on_wait
        interval = 1.0 / qps if qps > 0 else 0.0
        self._all = TokenBucket(interval, burst)
        self._shares = {purpose: TokenBucket(interval / share, share * burst) for purpose, share in SHARES.items()}
        self._waiting: dict[CallPurpose, deque[_Waiter]] = {
            purpose: deque() for purpose in CallPurpose if purpose is not CallPurpose.URGENT
        }
        self._number = itertools.count()
        self._held_until = float("-inf")
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = 0.0

    async def acquire(self, purpose: CallPurpose) -> None:
        """Wait until one more call may be made."""
        began = self._clock()
        if purpose is not CallPurpose.URGENT:
            await self._turn(purpose)
        self._on_wait(purpose, self._clock() - began)

    def hold_back(self, seconds: float) -> None:
        """Make no call for so long, as the server has asked; URGENT is exempt."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def waiting(self, purpose: CallPurpose) -> int:
        """Return the number of calls that are held back."""
        return len(self._waiting.get(purpose, ()))

    async def _turn(self, purpose: CallPurpose) -> None:
        queue = self._waiting[purpose]
        waiter = _Waiter(next(self._number), asyncio.get_running_loop().create_future())
        queue.append(waiter)
        self._admit()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter in queue:
                queue.remove(waiter)
                self._admit()
            raise

    def _admit(self) -> None:
        now = self._clock()
        while (purpose := self._next(now)) is not None:
            waiter = self._waiting[purpose].popleft()
            if waiter.admitted.done():  # its caller was canceled and has not run since
                continue
            self._all.take(now)
            if purpose in self._shares:
                self._shares[purpose].take(now)
            waiter.admitted.set_result(None)
        self._set_alarm(now)

    def _next(self, now: float) -> CallPurpose | None:
        """Return the purpose whose first waiting call may be made now."""
        for rank in (FIRST, tuple(SHARES)):
            ready = [
                purpose for purpose in rank if self._waiting[purpose] and self._ready_at(purpose) <= now + _ROUNDING
            ]
            if ready:
                return min(ready, key=lambda purpose: self._waiting[purpose][0].number)
        return None

    def _ready_at(self, purpose: CallPurpose) -> float:
        ready = max(self._held_until, self._all.ready_at())
        share = self._shares.get(purpose)
        return ready if share is None else max(ready, share.ready_at())

    def _set_alarm(self, now: float) -> None:
        due = min((self._ready_at(purpose) for purpose, queue in self._waiting.items() if queue), default=None)
        if self._alarm is not None:
            # one that rings too early finds nothing to do and is set again
            if due is not None and self._alarm_at <= due:
                return
            self._alarm.cancel()
            self._alarm = None
        if due is not None:
            self._alarm_at = due
            self._alarm = asyncio.create_task(self._ring(due - now), name="call budget")

    async def _ring(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._alarm = None
        self._admit()
