"""Tests of a staging's plan: what is loaded, linked, and refused."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.client import ObjectInfo
from maskrcnn_trainer.staging.plan import (
    NeededObject,
    StagingPlan,
    plan_staging,
    refuse_impossible_places,
    space_missing,
)


def needed(key: str, size: int, name: str | None = None) -> NeededObject:
    return NeededObject(ObjectInfo(key, size, "etag"), name or f"name of {key}", key)


A, B, C = needed("a", 10), needed("b", 20), needed("c", 20)


def test_cached_objects_are_linked_and_others_are_loaded_the_largest_first() -> None:
    plan = plan_staging([A, B, C], {"name of b": 20}, {})
    assert plan == StagingPlan(cached=(B,), to_load=(C, A), to_load_bytes=30, resumed_bytes=0)


def test_cached_object_of_another_size_is_loaded_again() -> None:
    assert plan_staging([A], {"name of a": 9}, {}).to_load == (A,)


def test_interrupted_loads_are_resumed() -> None:
    plan = plan_staging([A, B], {}, {"name of a": 4, "name of b": 21, "name of c": 5})
    assert (plan.to_load_bytes, plan.resumed_bytes) == (26, 4)


def test_object_in_two_places_is_loaded_once() -> None:
    again = needed("copy", 10, "name of a")
    assert plan_staging([A, again], {}, {}).to_load == (A,)


@pytest.mark.parametrize("places", [["x", "x/y"], ["x/y/z", "x/y"], ["x-1", "x", "x/y"]])
def test_object_that_is_the_folder_of_another_is_refused(places: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"imageDir: 'x(/y)?' is an object and also the folder of others"):
        refuse_impossible_places(places, "imageDir")


def test_names_that_are_too_long_for_a_file_are_refused_by_bytes() -> None:
    refuse_impossible_places([f"{'a' * 255}/{'b' * 255}", "x-1", "x"], "imageDir")
    with pytest.raises(InvalidInput, match="imageDir: .* more than 255 bytes"):
        refuse_impossible_places(["ü" * 128], "imageDir")


@pytest.mark.parametrize(
    ("free", "limit", "staged", "missing"),
    [
        (50, None, 0, False),
        (49, None, 0, True),
        (50, 60, 4, False),
        (50, 60, 5, True),
    ],
)
def test_space_is_compared_with_the_disk_and_with_nine_tenths_of_the_limit(
    free: int, limit: int | None, staged: int, missing: bool
) -> None:
    plan = plan_staging([A, B, C], {}, {})
    problem = space_missing(plan, free=free, limit=limit, staged=staged)
    assert (problem is not None) is missing
    if problem is not None:
        assert "50 bytes are to be loaded" in problem


def test_resumed_bytes_need_no_space_on_the_disk_but_count_for_the_limit() -> None:
    plan = plan_staging([A, B, C], {}, {"name of b": 15})
    assert space_missing(plan, free=35, limit=None, staged=0) is None
    assert "50 bytes" in str(space_missing(plan, free=35, limit=50, staged=0))
