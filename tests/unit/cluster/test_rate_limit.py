"""Token buckets: a burst, then one call per interval, for each key."""

from __future__ import annotations

import pytest

from maskrcnn_operator.cluster.rate_limit import RateLimit, TokenBucket


class Time:
    """Clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def clock(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


def test_bucket_without_an_interval_never_waits() -> None:
    bucket = TokenBucket(0.0, 5)
    for _ in range(100):
        bucket.take(7.0)
    assert bucket.ready_at() <= 7.0


def test_bucket_of_less_than_one_call_holds_one() -> None:
    bucket = TokenBucket(10.0, 0.2)
    assert bucket.ready_at() <= 0.0
    bucket.take(0.0)
    assert bucket.ready_at() == 10.0


def test_a_burst_then_one_an_interval(time: Time) -> None:
    limit = RateLimit(10.0, 3, time.clock)
    assert [limit.wait("a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.wait("a") == pytest.approx(10.0)
    time.seconds += 4
    assert limit.wait("a") == pytest.approx(6.0)
    time.seconds += 6
    assert limit.wait("a") == 0.0
    assert limit.wait("a") == pytest.approx(10.0)
    time.seconds += 1000
    assert [limit.wait("a") == 0.0 for _ in range(4)] == [True, True, True, False]


def test_keys_have_separate_buckets(time: Time) -> None:
    limit = RateLimit(10.0, 1, time.clock)
    assert limit.wait("a") == limit.wait("b") == 0.0
    assert limit.wait("a") > 0


def test_number_of_buckets_is_bounded(time: Time) -> None:
    limit = RateLimit(10.0, 1, time.clock, max_keys=2)
    assert [limit.wait(key) for key in "abc"] == [0.0, 0.0, 0.0]
    assert limit.wait("c") > 0
    assert limit.wait("b") > 0
    assert limit.wait("a") == 0.0  # forgotten


def test_key_that_keeps_calling_is_not_forgotten_for_a_new_one(time: Time) -> None:
    limit = RateLimit(10.0, 1, time.clock, max_keys=2)
    for key in ("often", "other"):
        limit.wait(key)
    time.seconds += 10
    for key in ("often", "new"):
        limit.wait(key)
    assert limit.wait("often") > 0
