"""Behavior of a replica when it gains and when it loses the Lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext

import pytest

from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.metrics.process import REGISTRY
from maskrcnn_operator.runtime.leading import Leading, require_lease
from maskrcnn_operator.runtime.queue import WorkQueue
from maskrcnn_operator.runtime.worker import NotLeading, Workers

DEADLINE = 5.0
FOUND, DELETED, LATER = Key("ns", "found"), Key("ns", "deleted"), Key("ns", "later")


class FakeElection:
    """Election whose Lease the test gives and takes."""

    def __init__(self) -> None:
        self.held = False
        self.on_change: Callable[[bool], None] = lambda held: None

    def change(self, held: bool) -> None:
        self.held = held
        self.on_change(held)


class Stage:
    """Leading with a real queue and workers, which records what happens in order.

    Attributes:
        cached: keys of the cache.
        listed: keys that the next lists find.
        gate: reconciliations wait for it.
        at_end: error of the first canceled reconciliation.
    """

    def __init__(self, resync_seconds: float = 600.0) -> None:
        self.noted: list[str] = []
        self.cached: set[Key] = set()
        self.listed: set[Key] = {FOUND}
        self.at_end: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.election = FakeElection()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.workers = Workers(self.queue, self._reconcile, 1)
        leading = Leading(
            self.election,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self.queue,
            self.workers,
            relisting=self,  # type: ignore[arg-type]
            resync_seconds=resync_seconds,
        )
        self.task = asyncio.create_task(leading.run())

    def keys(self) -> set[Key]:
        return set(self.cached)

    async def once(self) -> None:
        await asyncio.sleep(0.01)
        self.noted.append("listed")
        self.cached |= self.listed

    async def _reconcile(self, key: Key) -> float | None:
        self.noted.append(key.name)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            error, self.at_end = self.at_end, None
            raise error or asyncio.CancelledError from None
        return None

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                await asyncio.sleep(0.002)

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.workers.stop(grace=0.0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.end()


async def test_a_new_leader_lists_the_cluster_before_it_reconciles(stage: Stage) -> None:
    stage.election.change(True)
    await stage.until(lambda: len(stage.noted) == 2)
    assert stage.noted == ["listed", "found"]


async def test_each_gain_of_the_lease_lists_the_cluster(stage: Stage) -> None:
    for held in (True, False, True):
        stage.election.change(held)
        await stage.until(lambda: stage.workers.running is held)  # noqa: B023 - read at once
    await stage.until(lambda: len(stage.noted) == 4)
    assert stage.noted == ["listed", "found"] * 2


async def test_loss_of_the_lease_stops_workers_and_clears_the_queue(stage: Stage) -> None:
    stage.gate.clear()
    stage.election.change(True)
    await stage.until(lambda: stage.noted == ["listed", "found"])
    stage.queue.add(DELETED)
    stage.queue.add_later(LATER, 0.05)
    stage.election.change(False)
    await stage.until(lambda: not stage.workers.running)
    await asyncio.sleep(0.1)
    assert len(stage.queue) == 0
    # the next leader deletes it, so this replica must not reconcile it when it leads again
    stage.gate.set()
    stage.election.change(True)
    await stage.until(lambda: len(stage.noted) == 4)
    await asyncio.sleep(0.02)
    assert stage.noted == ["listed", "found", "listed", "found"]


async def test_leader_reconciles_all_experiments_periodically() -> None:
    stage = Stage(resync_seconds=0.02)
    stage.election.change(True)
    await stage.until(lambda: stage.noted.count("found") >= 3)
    assert stage.noted.count("listed") == 1
    await stage.end()


@pytest.mark.parametrize("held", [True, False])
def test_fence_lets_only_the_holder_of_the_lease_write(held: bool) -> None:
    election = FakeElection()
    election.held = held
    with nullcontext() if held else pytest.raises(NotLeading):
        require_lease(election)  # type: ignore[arg-type]


async def test_key_that_is_retried_while_the_work_ends_is_forgotten(stage: Stage) -> None:
    stage.at_end = NotLeading()
    stage.gate.clear()
    stage.election.change(True)
    await stage.until(lambda: stage.noted == ["listed", "found"])
    stage.election.change(False)
    await stage.until(lambda: stage.at_end is None)
    await asyncio.sleep(0)
    await stage.until(lambda: not stage.workers.running)
    await asyncio.sleep(0.01)
    assert stage.queue._due == {}


async def test_metric_follows_the_lease(stage: Stage) -> None:
    for held in (True, False):
        stage.election.change(held)
        assert REGISTRY.get_sample_value("maskrcnn_operator_leader") == held
