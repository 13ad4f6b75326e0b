"""Who holds the Lease, and how it changes hands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.lease import LeaderElection, LeaseTimes
from maskrcnn_operator.cluster.resources import LEASES

TIMES = LeaseTimes(duration=1.0, renew_deadline=0.6, retry=0.02)
DEADLINE = 20.0


def election(server: FakeServer, name: str) -> LeaderElection:
    return LeaderElection(server, "ns", "lease", name, times=TIMES)  # type: ignore[arg-type]


def spec(server: FakeServer) -> dict[str, Any]:
    found: dict[str, Any] = server.objects[LEASES.plural, "ns", "lease"]["spec"]
    return found


async def wait(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not until():
            await asyncio.sleep(0.005)


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_first_takes_it_and_the_second_waits(server: FakeServer) -> None:
    first, second = election(server, "one"), election(server, "two")
    changes: list[bool] = []
    first.on_change = changes.append
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    two = asyncio.create_task(second.run())
    renewed = spec(server)["renewTime"]
    await wait(lambda: spec(server)["renewTime"] != renewed)
    assert not second.held
    assert (spec(server)["holderIdentity"], spec(server)["leaseTransitions"]) == ("one", 0)
    await ended(one, two)
    assert changes == [True]


async def test_a_released_lease_is_taken_at_once(server: FakeServer) -> None:
    first, second = election(server, "one"), election(server, "two")
    one, two = asyncio.create_task(first.run()), None
    await wait(lambda: first.held)
    await ended(one)
    await first.release()
    assert not first.held
    assert spec(server)["holderIdentity"] == ""
    two = asyncio.create_task(second.run())
    await wait(lambda: second.held)
    assert spec(server)["leaseTransitions"] == 1
    await ended(two)


async def test_a_holder_that_died_loses_it_by_time(server: FakeServer) -> None:
    first, second = election(server, "one"), election(server, "two")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    await ended(one)
    two = asyncio.create_task(second.run())
    await wait(lambda: second.held)
    assert not first.held
    assert spec(server)["holderIdentity"] == "two"
    await ended(two)


async def test_a_holder_that_cannot_renew_is_none_and_becomes_one_again(server: FakeServer) -> None:
    first = election(server, "one")
    changes: list[bool] = []
    first.on_change = changes.append
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    server.fail["update", "leases"] = [ApiError(500, "InternalError", "no") for _ in range(10_000)]
    await wait(lambda: changes == [True, False])
    assert not first.held
    server.fail.clear()
    await wait(lambda: changes == [True, False, True])
    await ended(one)


async def test_a_lease_changed_by_somebody_else_is_read_again(server: FakeServer) -> None:
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    stolen = server.objects[LEASES.plural, "ns", "lease"]
    stolen["spec"] = {**stolen["spec"], "holderIdentity": "thief", "renewTime": "x"}
    server.add(LEASES, "ns", stolen)
    await wait(lambda: not first.held)
    assert spec(server)["holderIdentity"] == "thief"
    await ended(one)


async def test_the_release_of_what_somebody_else_holds_changes_nothing(server: FakeServer) -> None:
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    await ended(one)
    server.objects[LEASES.plural, "ns", "lease"]["spec"]["holderIdentity"] = "two"
    await first.release()
    assert spec(server)["holderIdentity"] == "two"
