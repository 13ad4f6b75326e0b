"""Rate limits by token buckets: a single bucket, and one for each key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class TokenBucket:
    """Token bucket that allows one call per ``interval`` on average, and a burst after an idle time.

    Args:
        interval: average seconds between two calls; 0 for no limit.
        burst: calls at once; values below 1 count as 1.
    """

    __slots__ = ("_full_at", "_interval", "_tolerance")

    def __init__(self, interval: float, burst: float) -> None:
        self._interval = interval
        self._tolerance = interval * (max(1.0, burst) - 1.0)
        # time at which the bucket is full again
        self._full_at = float("-inf")

    def ready_at(self) -> float:
        """Return the time from which one more call may be made."""
        return self._full_at - self._tolerance

    def take(self, now: float) -> None:
        """Count one call."""
        self._full_at = max(self._full_at, now) + self._interval


class RateLimit:
    """Token bucket for each key.

    Args:
        interval: average seconds between two calls of a key.
        burst: calls of a key at once after an idle time.
        clock: monotonic clock, in seconds.
        max_keys: most keys that are stored; keys with the oldest allowed call are removed first.
    """

    def __init__(self, interval: float, burst: int, clock: Callable[[], float], max_keys: int = 10_000) -> None:
        self._interval, self._burst, self._clock, self._max_keys = interval, burst, clock, max_keys
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait(self, key: str) -> float:
        """Count a call of ``key``; return 0 if it is allowed, else the seconds until the next allowed call."""
        now = self._clock()
        bucket = self._buckets.get(key) or TokenBucket(self._interval, self._burst)
        if bucket.ready_at() > now:
            return bucket.ready_at() - now
        bucket.take(now)
        self._buckets[key] = bucket
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return 0.0
