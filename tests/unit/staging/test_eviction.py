"""Least recently used objects make room, and what processes have staged stays."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.staging.eviction import CachedObject, Eviction, evict_for

OBJECTS = (
    CachedObject("new", 40, used=30.0, is_staged=False),
    CachedObject("old", 30, used=10.0, is_staged=False),
    CachedObject("staged", 20, used=5.0, is_staged=True),
    CachedObject("empty", 0, used=1.0, is_staged=False),
)


@pytest.mark.parametrize(
    ("needed", "limit", "expected"),
    [
        (10, 100, Eviction((), 0)),
        (11, 100, Eviction(("old",), 0)),
        (40, 100, Eviction(("old",), 0)),
        (41, 100, Eviction(("old", "new"), 0)),
        (80, 100, Eviction(("old", "new"), 0)),
        (81, 100, Eviction((), 1)),
        (0, 10, Eviction((), 10)),
    ],
)
def test_least_recently_used_make_room_but_not_what_is_staged(needed: int, limit: int, expected: Eviction) -> None:
    assert evict_for(OBJECTS, needed=needed, limit=limit) == expected


def test_objects_of_the_same_time_go_in_the_order_of_their_names() -> None:
    objects = [CachedObject(name, 1, used=7.0, is_staged=False) for name in ("b", "a", "c")]
    assert evict_for(objects, needed=2, limit=3).names == ("a", "b")
