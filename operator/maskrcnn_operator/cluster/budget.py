"""Rate limit of calls to the API server, with shares for calls that must not delay reconciliation."""

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
"""Tolerance in seconds: sums of floating-point seconds are not exact."""


class CallPurpose(Enum):
    """Purpose of a call, which determines its priority; the value is its name in metrics."""

    RECONCILE = "reconcile"
    LIST = "list"
    REVIEW = "review"
    PROGRESS = "progress"
    EVENT = "event"
    DIAGNOSIS = "diagnosis"
    URGENT = "urgent"


FIRST = (CallPurpose.RECONCILE, CallPurpose.LIST)
"""Purposes that go before all others, first come, first served. A list has one page in the queue at a time, so it
delays reconciliation by at most one call."""

SHARES: Mapping[CallPurpose, float] = {
    CallPurpose.REVIEW: 0.2,
    CallPurpose.PROGRESS: 0.2,
    CallPurpose.EVENT: 0.2,
    CallPurpose.DIAGNOSIS: 0.1,
}
"""Largest part of the limit for each other purpose, used only while no call of FIRST waits. Together they leave 30% of
the calls to reconciliation at any moment. With a limit of 50, 20% is ten calls a second: 2,000 running trainings need
seven reviews (each token once in 300 s), and their progress is written at the remaining rate. 10% is five reads of
events a second, so the events of 1,500 steps that cannot start are read every five minutes."""


def rate_of(purpose: CallPurpose, qps: float) -> float:
    """Return the calls per second that ``purpose`` may make under a limit of ``qps``; 0 for no limit."""
    return SHARES.get(purpose, 1.0) * qps


@dataclass(eq=False)
class _Waiter:
    number: int
    admitted: asyncio.Future[None]


class CallBudget:
    """Rate limiter that queues calls by purpose.

    Calls of FIRST go before all others; within one purpose, calls go first come, first served. The other purposes share
    the rest, each up to its share, starting with the call that has waited longest. URGENT never waits and is not
    counted: a replica that renews its Lease late loses it.

    Args:
        qps: average calls per second; 0 for no limit.
        burst: calls that may be made at once after an idle time; each share has its part of it.
        clock: monotonic clock, in seconds.
        sleep: waits for a number of seconds of ``clock``.
        on_wait: called for every call with its purpose and the seconds that it waited.
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
        """Make no call for this many seconds, except for URGENT, since the server requested it."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    def waiting(self, purpose: CallPurpose) -> int:
        """Return the number of calls of a purpose that wait."""
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
            # an alarm that is too early does nothing and sets the next one
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
