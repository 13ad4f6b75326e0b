"""Rate limit of API calls: a total rate, priority of reconciliation, and a share for each other purpose."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from tests.unit.progress_endpoint.conftest import FakeTime

from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.cluster.budget import CallBudget, CallPurpose, rate_of
from maskrcnn_operator.cluster.client import Client
from maskrcnn_operator.cluster.errors import TooManyRequests
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.lease import LeaderElection
from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS
from maskrcnn_operator.core.plan import Event

RECONCILE, LIST, REVIEW = CallPurpose.RECONCILE, CallPurpose.LIST, CallPurpose.REVIEW
PROGRESS, EVENT, DIAGNOSIS, URGENT = CallPurpose.PROGRESS, CallPurpose.EVENT, CallPurpose.DIAGNOSIS, CallPurpose.URGENT
QPS, BURST = 40.0, 20
SLOT = 1 / QPS + 1e-7
"""Slightly late, since sums of floating-point seconds are not exact."""


class Calls:
    """Callers of one budget, and the order in which they were admitted."""

    def __init__(self, time: FakeTime, qps: float = QPS, burst: int = BURST) -> None:
        self.time = time
        self.budget = CallBudget(qps, burst, time.clock, time.sleep)
        self.made: list[CallPurpose] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, purpose: CallPurpose, times: int = 1) -> list[asyncio.Task[None]]:
        asked = [asyncio.create_task(self._call(purpose)) for _ in range(times)]
        self.tasks += asked
        return asked

    async def use_up(self) -> None:
        """Make calls until none may be made at once, and forget them."""
        self.ask(RECONCILE, BURST)
        await self.time.settle()
        assert len(self.made) == BURST
        self.made.clear()

    async def pass_slots(self, number: int) -> None:
        """Let the time pass in which ``number`` calls may be made."""
        for _ in range(number):
            await self.time.advance(SLOT)

    async def _call(self, purpose: CallPurpose) -> None:
        await self.budget.acquire(purpose)
        self.made.append(purpose)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def calls(time: FakeTime) -> Iterator[Calls]:
    calls = Calls(time)
    yield calls
    for task in calls.tasks:
        task.cancel()


async def test_burst_is_made_at_once_and_the_rest_evenly(calls: Calls, time: FakeTime) -> None:
    calls.ask(RECONCILE, 60)
    await time.settle()
    assert len(calls.made) == BURST
    for number in range(1, 11):
        await time.advance(SLOT)
        assert len(calls.made) == BURST + number
    await time.advance(10 * SLOT)
    assert len(calls.made) == BURST + 20
    assert calls.budget.waiting(RECONCILE) == 20


async def test_no_limit_holds_nothing_back(time: FakeTime) -> None:
    calls = Calls(time, qps=0, burst=1)
    for purpose in CallPurpose:
        calls.ask(purpose, 1000)
    await time.settle()
    assert Counter(calls.made) == dict.fromkeys(CallPurpose, 1000)


async def test_reconciling_that_waits_goes_before_all_others_that_wait(calls: Calls) -> None:
    await calls.use_up()
    for purpose in (REVIEW, PROGRESS, EVENT, DIAGNOSIS):
        calls.ask(purpose, 100)
    await calls.pass_slots(3)
    before = list(calls.made)
    calls.ask(RECONCILE, 30)
    await calls.pass_slots(30)
    assert RECONCILE not in before
    assert calls.made[len(before) :] == [RECONCILE] * 30
    await calls.pass_slots(2)
    assert RECONCILE not in calls.made[len(before) + 30 :]
    assert len(calls.made) == len(before) + 32


async def test_reconciling_takes_as_long_with_a_flood_of_reviews_as_without(time: FakeTime) -> None:
    calls = Calls(time)
    calls.ask(REVIEW, 3000)
    await time.settle()
    reviewed = len(calls.made)
    assert reviewed == 4
    calls.ask(RECONCILE, 100)
    # without reviews, 100 calls take 80 slots after the burst of 20
    await calls.pass_slots(80 + reviewed)
    assert Counter(calls.made) == {REVIEW: reviewed, RECONCILE: 100}
    for task in calls.tasks:
        task.cancel()


@pytest.mark.parametrize(("purpose", "share"), [(REVIEW, 0.2), (PROGRESS, 0.2), (EVENT, 0.2), (DIAGNOSIS, 0.1)])
async def test_each_other_purpose_stays_within_its_share_without_other_calls(
    calls: Calls, time: FakeTime, purpose: CallPurpose, share: float
) -> None:
    calls.ask(purpose, 500)
    await time.settle()
    assert rate_of(purpose, QPS) == share * QPS
    assert len(calls.made) == share * BURST
    for second in range(1, 4):
        for _ in range(8):
            await time.advance(0.125)
        assert len(calls.made) == share * BURST + second * rate_of(purpose, QPS)
    calls.ask(RECONCILE)
    await time.settle()
    assert calls.made[-1] is RECONCILE


async def test_a_call_that_waits_for_its_share_does_not_hold_up_another_purpose(calls: Calls, time: FakeTime) -> None:
    await calls.use_up()
    calls.ask(REVIEW, 10)
    await calls.pass_slots(4)
    assert calls.made == [REVIEW] * 4
    calls.ask(EVENT)
    await calls.pass_slots(1)
    assert calls.made[4:] == [EVENT]


async def test_other_purposes_are_admitted_in_order(calls: Calls) -> None:
    await calls.use_up()
    order = [REVIEW, EVENT, PROGRESS, EVENT, REVIEW, PROGRESS]
    for purpose in order:
        calls.ask(purpose)
        await calls.time.settle()
    await calls.pass_slots(len(order))
    assert calls.made == order


async def test_a_list_takes_its_turn_with_reconciling(calls: Calls) -> None:
    await calls.use_up()
    order = [RECONCILE, LIST, RECONCILE, RECONCILE]
    for purpose in order:
        calls.ask(purpose)
        await calls.time.settle()
    await calls.pass_slots(len(order))
    assert calls.made == order


async def test_all_but_urgent_calls_are_held_back_when_the_server_asks(calls: Calls, time: FakeTime) -> None:
    calls.budget.hold_back(5.0)
    calls.budget.hold_back(1.0)
    for purpose in CallPurpose:
        calls.ask(purpose)
    await time.advance(4.9)
    assert calls.made == [URGENT]
    await time.advance(0.2)
    assert set(calls.made) == set(CallPurpose)


async def test_calls_that_already_wait_are_held_back_too(calls: Calls, time: FakeTime) -> None:
    await calls.use_up()
    calls.ask(RECONCILE, 2)
    await time.settle()
    calls.budget.hold_back(5.0)
    await time.advance(4.9)
    assert calls.made == []
    await time.advance(0.2)
    assert len(calls.made) == 2


async def test_an_urgent_call_takes_nothing_from_the_others(calls: Calls, time: FakeTime) -> None:
    calls.ask(URGENT, 1000)
    calls.ask(RECONCILE, BURST)
    await time.settle()
    assert len(calls.made) == 1000 + BURST


async def test_a_call_that_is_canceled_takes_nothing_from_the_others(calls: Calls, time: FakeTime) -> None:
    await calls.use_up()
    canceled = calls.ask(RECONCILE, 50)
    calls.ask(RECONCILE, 2)
    await time.settle()
    for task in canceled:
        task.cancel()
    await time.settle()
    assert calls.budget.waiting(RECONCILE) == 2
    await calls.pass_slots(2)
    assert len(calls.made) == 2


async def test_no_task_is_left_when_no_caller_waits(calls: Calls, time: FakeTime) -> None:
    await calls.use_up()
    waiting = calls.ask(REVIEW, 3)
    await time.settle()
    for task in waiting:
        task.cancel()
    await time.settle()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "call budget"] == []


async def test_every_call_is_reported_with_its_wait(time: FakeTime) -> None:
    told: list[tuple[CallPurpose, float]] = []
    budget = CallBudget(
        8.0, 1, time.clock, time.sleep, on_wait=lambda purpose, seconds: told.append((purpose, seconds))
    )
    tasks = [asyncio.create_task(budget.acquire(purpose)) for purpose in (RECONCILE, RECONCILE, URGENT)]
    await time.advance(0.125)
    await asyncio.gather(*tasks)
    assert told == [(RECONCILE, 0.0), (URGENT, 0.0), (RECONCILE, 0.125)]


class Told:
    """Rate limiter without a limit that records the purposes of calls."""

    def __init__(self) -> None:
        self.purposes: list[CallPurpose] = []
        self.held: list[float] = []

    async def acquire(self, purpose: CallPurpose) -> None:
        self.purposes.append(purpose)

    def hold_back(self, seconds: float) -> None:
        self.held.append(seconds)


class Answering(Client):
    """Client whose server responds to every call."""

    def __init__(self, limit: Told) -> None:
        super().__init__(Mock(), limit=limit)
        self.status = 200

    async def _exchange(self, *arguments: Any, **options: Any) -> tuple[int, bytes, float | None]:
        answer = {
            "kind": "Anything",
            "metadata": {"name": "x", "uid": "u", "resourceVersion": "7"},
            "items": [],
            "status": {},
        }
        return self.status, json.dumps(answer).encode(), 3.0


async def test_every_call_of_the_client_has_its_purpose(experiment_object: dict[str, Any]) -> None:
    limit = Told()
    client = Answering(limit)

    async def purposes_of(*calls: Any) -> list[CallPurpose]:
        limit.purposes.clear()
        for call in calls:
            await call
        return list(limit.purposes)

    async def listed() -> None:
        async for _ in client.list(EXPERIMENTS):
            pass

    reconciling = (
        client.get(JOBS, "ns", "x"), client.create(JOBS, "ns", {}), client.replace(JOBS, "ns", "x", {}),
        client.delete(JOBS, "ns", "x", uid="u"), client.apply_status("ns", "x", {}, 1),
    )  # fmt: skip
    assert await purposes_of(*reconciling) == [RECONCILE] * 5
    assert await purposes_of(listed()) == [LIST]
    assert await purposes_of(client.token_review("token", "audience")) == [REVIEW]
    assert await purposes_of(client.apply_progress("ns", "x", {"step": "train"})) == [PROGRESS]

    assert await purposes_of(client.events_about("ns", "uid-1")) == [DIAGNOSIS]

    recorder = EventRecorder(client, "pod-1")
    experiment_object["metadata"]["namespace"] = "ns"
    event = Event("Normal", "StepStarted", "step train: attempt 1")
    recorder.record(read_object(experiment_object), (event, event))
    assert await purposes_of(recorder.flush()) == [EVENT, EVENT]

    election = LeaderElection(client, "ns", "lease", "me")
    assert set(await purposes_of(election._take_or_renew(), election._create({}))) == {URGENT}


async def test_retry_after_of_the_server_is_followed(time: FakeTime) -> None:
    limit = Told()
    client = Answering(limit)
    client.status = 429
    with pytest.raises(TooManyRequests):
        await client.token_review("token", "audience")
    assert limit.held == [3.0]
