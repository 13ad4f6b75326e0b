"""Each key once, one worker at a time, put off and asked for again."""

from __future__ import annotations

import asyncio

import pytest

from maskrcnn_operator.runtime.queue import WorkQueue

DEADLINE = 20.0


async def taken(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), DEADLINE)


async def test_a_key_stands_there_once_and_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_all(["a", "b", "a"])
    assert len(queue) == 2
    assert [await taken(queue), await taken(queue)] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_in_work_is_given_out_again_only_when_it_is_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await taken(queue) == "a"
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    assert await taken(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_that_is_put_off_comes_by_itself_and_earlier_when_asked_for() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_later("soon", 0.01)
    queue.add_later("late", 3600)
    assert len(queue) == 0
    assert await taken(queue) == "soon"
    queue.add("late")
    assert await taken(queue) == "late"
    queue.done("late")
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_the_earliest_of_several_times_holds_and_counts_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_later("a", 3600)
    queue.add_later("a", 0.01)
    queue.add_later("a", 1800)
    assert await taken(queue) == "a"
    queue.done("a")
    assert not queue._due
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_back_off_doubles_up_to_its_limit_and_begins_anew() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waits = [queue.retry("a") for _ in range(40)]
    for number, wait in enumerate(waits):
        nominal = min(60.0, 0.1 * 2**number)
        assert 0.8 * nominal <= wait <= 1.2 * nominal
    queue.forgive("a")
    assert queue.retry("a") <= 0.12
    assert queue.retry("b", at_least=7.0) == 7.0


async def test_a_retry_of_a_key_in_work_waits_for_its_time() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.retry("a", at_least=3600)
    queue.done("a")
    assert len(queue) == 0
    queue.add("a")
    assert await taken(queue) == "a"


async def test_depth_and_wait_are_told() -> None:
    depths: list[int] = []
    waits: list[float] = []
    queue: WorkQueue[str] = WorkQueue(on_depth=depths.append, on_wait=waits.append)
    queue.add_all(["a", "b"])
    await taken(queue)
    assert depths == [1, 2, 1]
    assert len(waits) == 1
    assert waits[0] >= 0


@pytest.mark.parametrize("later", [False, True])
async def test_a_cleared_queue_is_empty(later: bool) -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_later("a", 0.01) if later else queue.add("a")
    queue.clear()
    await asyncio.sleep(0.03)
    assert len(queue) == 0
