"""Bounded cache of values by key."""

from __future__ import annotations

from maskrcnn_operator.cluster.kept import Kept


def test_scans_of_twice_the_capacity_still_hit() -> None:
    """With eviction of the least recently used key, there would be no hits."""
    kept: Kept[int, int] = Kept(4_000)
    hits = 0
    for turn in range(6):
        for key in range(8_000):
            hits += kept.get(key) is not None
            kept.put(key, key)
        if turn == 1:
            assert hits / 8_000 > 0.4
            hits = 0
    assert hits / (4 * 8_000) > 0.4
    assert len(kept) == 4_000


def test_new_keys_are_admitted_eventually() -> None:
    kept: Kept[int, int] = Kept(100)
    for key in range(100):
        kept.put(key, key)
    for _ in range(100):
        kept.put(-1, -1)
    assert kept.get(-1) == -1
    assert len(kept) == 100


def test_kept_value_is_replaced() -> None:
    kept: Kept[str, int] = Kept(1)
    kept.put("a", 1)
    kept.put("a", 2)
    assert kept.get("a") == 2


def test_dropped_key_frees_its_slot() -> None:
    kept: Kept[int, int] = Kept(3)
    for key in range(3):
        kept.put(key, key)
    kept.drop(0)
    kept.drop(0)
    kept.drop(9)
    assert [kept.get(key) for key in range(3)] == [None, 1, 2]
    kept.put(3, 3)
    kept.drop(2)
    assert (len(kept), kept.get(1), kept.get(3)) == (2, 1, 3)
