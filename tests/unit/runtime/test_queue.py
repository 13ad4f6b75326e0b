"""Work queue: each key once, one worker at a time, delays, and back-off."""

from __future__ import annotations

import asyncio

import pytest

from maskrcnn_operator.runtime.queue import WorkQueue

DEADLINE = 20.0


class Clock:
    """Clock that only moves when a test moves it; the event loop's timers run in real time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def taken(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), DEADLINE)


async def first_to_come(queue: WorkQueue[str], clock: Clock, seconds: float) -> str:
    """Let ``seconds`` pass and return the first key to come: "last" if no other one was due by then."""
    queue.add_later("last", seconds)
    clock.now += seconds
    queue.add_later("timer", 0.01)  # makes the queue set its timer by the new time
    return await taken(queue)


async def test_keys_are_queued_once_and_in_order() -> None:
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


async def test_delayed_key_becomes_due() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_later("a", 0.01)
    assert len(queue) == 0
    assert await taken(queue) == "a"


async def test_key_added_before_its_due_time_is_not_queued_again_at_that_time() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_later("a", 3600)
    queue.add("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert await first_to_come(queue, clock, 3601) == "last"
    assert len(queue) == 0


async def test_earliest_of_several_due_times_counts_once() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_later("a", 3600)
    queue.add_later("a", 0.01)
    queue.add_later("a", 1800)
    clock.now += 0.01
    assert await taken(queue) == "a"
    queue.done("a")
    assert not queue._due
    assert await first_to_come(queue, clock, 3601) == "last"
    assert len(queue) == 0


async def test_back_off_doubles_up_to_its_limit_and_is_reset() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waits = [queue.retry("a") for _ in range(40)]
    for number, wait in enumerate(waits):
        nominal = min(60.0, 0.1 * 2**number)
        assert 0.8 * nominal <= wait <= 1.2 * nominal
    queue.reset_back_off("a")
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


async def test_depth_is_reported() -> None:
    depths: list[int] = []
    queue: WorkQueue[str] = WorkQueue(on_depth=depths.append)
    queue.add_all(["a", "b"])
    await taken(queue)
    assert depths == [1, 2, 1]


async def test_wait_is_reported_in_seconds_since_a_key_was_added() -> None:
    clock = Clock()
    waits: list[float] = []
    queue: WorkQueue[str] = WorkQueue(on_wait=waits.append, clock=clock)
    queue.add("a")
    clock.now += 2.0
    queue.add("b")
    clock.now += 0.5
    await taken(queue)
    await taken(queue)
    assert waits == [2.5, 0.5]


@pytest.mark.parametrize("later", [False, True])
async def test_a_cleared_queue_is_empty(later: bool) -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_later("a", 3600) if later else queue.add("a")
    queue.clear()
    assert len(queue) == 0
    assert await first_to_come(queue, clock, 3601) == "last"
    assert len(queue) == 0


async def test_a_cleared_queue_forgets_when_a_key_was_due() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_later("a", 3600)
    queue.clear()
    queue.add_later("a", 7200)
    assert await first_to_come(queue, clock, 7201) == "a"


async def test_repeatedly_delayed_key_has_one_entry() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    # three days of a training with a deadline, reconciled every 30 s
    for number in range(8640):
        clock.now += 30
        queue.add("a")
        await taken(queue)
        queue.add_later("a", 259_200 - 30 * number + 1)
        queue.done("a")
        assert len(queue._later) <= 2
    assert len(queue._due) == 1


async def test_many_delayed_keys_keep_their_times() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    keys = [f"k{number}" for number in range(100)]
    for delay in (4000, 3000, 2000):
        for number, key in enumerate(keys):
            queue.add_later(key, delay - number)
            assert len(queue._later) <= 2 * len(queue._due)
    clock.now += 1950
    queue.add_later("timer", 0.01)
    assert [await taken(queue) for _ in range(50)] == keys[:49:-1]
    clock.now += 50
    queue.add_later("timer2", 0.01)
    assert await taken(queue) == "timer"
    assert [await taken(queue) for _ in range(50)] == keys[49::-1]


async def test_a_namespace_with_many_keys_does_not_hold_up_another() -> None:
    queue: WorkQueue[tuple[str, int]] = WorkQueue(lane=lambda key: key[0])
    queue.add_all(("crowd", number) for number in range(10_000))
    workers = 8
    for _ in range(workers):
        await queue.get()
    queue.add(("lone", 0))
    assert [(await queue.get())[0] for _ in range(3)] == ["crowd", "lone", "crowd"]
    assert len(queue) == 10_000 - workers - 2


async def test_lanes_take_turns_and_keep_their_order() -> None:
    depths: list[int] = []
    queue: WorkQueue[str] = WorkQueue(lane=lambda key: key[0], on_depth=depths.append)
    queue.add_all(["a1", "a2", "a3", "b1", "b2", "c1", "a1"])
    assert [await taken(queue) for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert depths == [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0]
    assert not queue._ready


async def test_a_cleared_queue_has_no_lanes() -> None:
    queue: WorkQueue[str] = WorkQueue(lane=lambda key: key[0])
    queue.add_all(["a1", "a2", "b1"])
    queue.clear()
    queue.add("b2")
    assert await taken(queue) == "b2"
    assert len(queue) == 0


async def test_cleared_queue_forgets_failures_and_what_was_added_during_work() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(10):
        queue.retry("a")
    queue.clear()
    assert queue.retry("a") <= 0.12
    queue.add("b")
    await taken(queue)
    queue.add("b")
    queue.clear()
    queue.done("b")
    assert len(queue) == 0


async def test_retry_waits_even_if_the_key_was_due_earlier() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_later("a", 1800)
    queue.retry("a", at_least=7200)
    assert await first_to_come(queue, clock, 3600) == "last"
    assert len(queue) == 0


async def test_waiting_key_is_not_delayed() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add("a")
    queue.add_later("a", 3600)
    assert await taken(queue) == "a"
    queue.done("a")
    assert await first_to_come(queue, clock, 3601) == "last"
    assert len(queue) == 0
