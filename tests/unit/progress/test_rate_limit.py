from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.progress.rate_limit import RateLimit


def test_a_burst_then_one_an_interval(time: Any) -> None:
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


def test_keys_do_not_share(time: Any) -> None:
    limit = RateLimit(10.0, 1, time.clock)
    assert limit.wait("a") == limit.wait("b") == 0.0
    assert limit.wait("a") > 0


def test_what_is_remembered_is_bounded(time: Any) -> None:
    limit = RateLimit(10.0, 1, time.clock, max_keys=2)
    assert [limit.wait(key) for key in "abc"] == [0.0, 0.0, 0.0]
    assert limit.wait("c") > 0
    assert limit.wait("b") > 0
    assert limit.wait("a") == 0.0  # forgotten


def test_key_that_keeps_calling_is_not_forgotten_for_a_new_one(time: Any) -> None:
    limit = RateLimit(10.0, 1, time.clock, max_keys=2)
    for key in ("often", "other"):
        limit.wait(key)
    time.seconds += 10
    for key in ("often", "new"):
        limit.wait(key)
    assert limit.wait("often") > 0
