"""A token bucket, as the Go client's: so many calls a second on average, so many at once."""

from __future__ import annotations

import asyncio
import time


class RateLimit:
    """Holds callers back, first come, first served.

    Args:
        qps: calls a second on average; 0 for no limit.
        burst: calls that may be made at once after a quiet time.
    """

    def __init__(self, qps: float, burst: int) -> None:
        self._interval = 1.0 / qps if qps > 0 else 0.0
        self._span = self._interval * max(1, burst)
        self._next = 0.0
        self._blocked_until = 0.0

    async def acquire(self) -> None:
        """Waits until one more call may be made."""
        now = time.monotonic()
        # the moment at which the bucket would be full again if every call were spaced evenly
        self._next = max(self._next, now) + self._interval
        wait = max(self._next - now - self._span, self._blocked_until - now)
        if wait > 0:
            await asyncio.sleep(wait)

    def hold_back(self, seconds: float) -> None:
        """No call for so long: the server asked for it."""
        self._blocked_until = max(self._blocked_until, time.monotonic() + seconds)
