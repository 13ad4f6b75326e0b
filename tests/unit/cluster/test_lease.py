"""Leader election: the holder of the Lease, and its change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
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


async def test_first_replica_takes_the_lease_and_second_waits(server: FakeServer) -> None:
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


async def test_lease_is_taken_and_kept_on_an_api_server_that_is_slow(server: FakeServer) -> None:
    """Two calls together take longer than the limit of one."""
    get, replace = server.get, server.replace

    async def slow_get(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.2)
        return await get(*arguments, **options)

    async def slow_replace(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.2)
        return await replace(*arguments, **options)

    body = {"metadata": {"name": "lease", "namespace": "ns"}, "spec": {"holderIdentity": "", "leaseTransitions": 3}}
    await server.create(LEASES, "ns", body)
    server.get, server.replace = slow_get, slow_replace  # type: ignore[method-assign]
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    renewed = spec(server)["renewTime"]
    await wait(lambda: spec(server)["renewTime"] != renewed)
    assert spec(server)["leaseTransitions"] == 4
    await ended(one)


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


async def test_dead_holder_loses_the_lease_after_its_duration(server: FakeServer) -> None:
    first, second = election(server, "one"), election(server, "two")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    await ended(one)
    two = asyncio.create_task(second.run())
    await wait(lambda: second.held)
    assert not first.held
    assert spec(server)["holderIdentity"] == "two"
    await ended(two)


async def test_holder_that_cannot_renew_loses_the_lease_and_regains_it(server: FakeServer) -> None:
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


async def test_lease_that_another_replica_makes_first_is_not_held(server: FakeServer) -> None:
    first = election(server, "one")
    changes: list[bool] = []
    first.on_change = changes.append
    looked_again: list[None] = []

    def overtake() -> None:
        held = {"holderIdentity": "two", "leaseDurationSeconds": 60, "renewTime": "x"}
        server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": held})
        server.before["get", "leases"] = lambda: looked_again.append(None)

    server.before["create", "leases"] = overtake
    one = asyncio.create_task(first.run())
    await wait(lambda: bool(looked_again))
    assert (first.held, changes) == (False, [])
    assert spec(server)["holderIdentity"] == "two"
    await ended(one)


async def test_lease_is_read_again_after_a_renewal_whose_outcome_is_unknown(server: FakeServer) -> None:
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    looked_again: list[None] = []
    server.before["get", "leases"] = lambda: looked_again.append(None)
    server.fail["update", "leases"] = [ApiError(0, "TimeoutError", "")]
    await wait(lambda: bool(looked_again))
    await ended(one)


async def test_lease_that_its_holder_renews_is_not_taken(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("maskrcnn_operator.cluster.lease.time", SimpleNamespace(monotonic=lambda: now))
    held = {"holderIdentity": "two", "leaseDurationSeconds": 1, "renewTime": "0"}
    server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": held})
    looked: list[None] = []

    def renew() -> None:
        nonlocal now
        now += 0.7
        looked.append(None)
        server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": {**held, "renewTime": str(len(looked))}})
        server.before["get", "leases"] = renew

    server.before["get", "leases"] = renew
    one = asyncio.create_task(election(server, "one").run())
    await wait(lambda: len(looked) > 4 or spec(server)["holderIdentity"] != "two")
    assert spec(server)["holderIdentity"] == "two"
    await ended(one)


async def test_a_lease_is_free_after_the_duration_of_its_holder(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("maskrcnn_operator.cluster.lease.time", SimpleNamespace(monotonic=lambda: now))
    held = {"holderIdentity": "two", "leaseDurationSeconds": 5, "renewTime": "0"}
    server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": held})
    first = election(server, "one")
    taken: list[float | None] = []
    for moment in (0.0, 4.9, 5.1):
        now = moment
        taken.append(await first._take_or_renew())
    assert taken == [None, None, 5.1]


async def test_replica_that_does_not_hold_the_lease_releases_nothing(server: FakeServer) -> None:
    server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": {"holderIdentity": "one"}})
    calls: list[None] = []
    server.before["get", "leases"] = lambda: calls.append(None)
    await election(server, "one").release()
    assert calls == []
    assert spec(server)["holderIdentity"] == "one"


@pytest.mark.parametrize("verb", ["create", "replace"])
async def test_lease_is_held_from_before_the_call_that_took_it(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Another replica counts from the moment of the write on the API server, which may be the start of the call."""
    now = 0.0
    monkeypatch.setattr("maskrcnn_operator.cluster.lease.time", SimpleNamespace(monotonic=lambda: now))
    call = getattr(server, verb)

    async def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal now
        now += 0.5
        return await call(*arguments, **options)

    monkeypatch.setattr(server, verb, slow)
    if verb == "replace":
        server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": {"holderIdentity": ""}})
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    now += TIMES.renew_deadline - 0.5
    assert not first.held
    await ended(one)


async def test_lease_changed_by_another_client_is_read_again(server: FakeServer) -> None:
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    stolen = server.objects[LEASES.plural, "ns", "lease"]
    stolen["spec"] = {**stolen["spec"], "holderIdentity": "thief", "renewTime": "x"}
    server.add(LEASES, "ns", stolen)
    await wait(lambda: not first.held)
    assert spec(server)["holderIdentity"] == "thief"
    await ended(one)


async def test_release_of_another_replicas_lease_changes_nothing(server: FakeServer) -> None:
    first = election(server, "one")
    one = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    await ended(one)
    server.objects[LEASES.plural, "ns", "lease"]["spec"]["holderIdentity"] = "two"
    await first.release()
    assert spec(server)["holderIdentity"] == "two"


HOSTILE_SPECS: list[Any] = [
    "a word",
    [1],
    {"leaseTransitions": "a word"},
    {"leaseTransitions": 2**31 - 1, "leaseDurationSeconds": -5},
    {"holderIdentity": ["nobody"], "renewTime": {"at": 1}, "leaseDurationSeconds": "long"},
    {"holderIdentity": "gone", "leaseDurationSeconds": 2**31 - 1},
    {"holderIdentity": "gone", "leaseDurationSeconds": 10**400, "leaseTransitions": -3},
    {"holderIdentity": "gone", "leaseDurationSeconds": [], "leaseTransitions": None, "acquireTime": 5},
    {"holderIdentity": "one", "acquireTime": "soon", "leaseTransitions": {}, "leaseDurationSeconds": True},
]
BRIEF = LeaseTimes(duration=0.05, renew_deadline=0.04, retry=0.005)


@pytest.mark.parametrize("found", HOSTILE_SPECS, ids=lambda found: str(found)[:60])
async def test_a_lease_with_hostile_contents_is_taken_and_made_valid(server: FakeServer, found: Any) -> None:
    server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": found})
    first = LeaderElection(server, "ns", "lease", "one", times=BRIEF)  # type: ignore[arg-type]
    running = asyncio.create_task(first.run())
    await wait(lambda: running.done() or first.held)
    assert not running.done()
    written = spec(server)
    assert (written["holderIdentity"], written["leaseDurationSeconds"]) == ("one", 1)
    assert isinstance(written["leaseTransitions"], int)
    assert 0 <= written["leaseTransitions"] < 2**31
    assert datetime.fromisoformat(written["acquireTime"])
    await ended(running)


@pytest.mark.parametrize("duration", [-5, 0, "x"])
async def test_invalid_duration_of_a_holder_is_replaced_by_ours(server: FakeServer, duration: object) -> None:
    held = {"holderIdentity": "two", "leaseDurationSeconds": duration, "renewTime": "x"}
    server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": held})
    first = LeaderElection(server, "ns", "lease", "one", times=LeaseTimes(60.0, 40.0, 0.005))  # type: ignore[arg-type]
    running = asyncio.create_task(first.run())
    await asyncio.sleep(0.1)
    assert not running.done()
    assert not first.held
    assert spec(server) == held
    await ended(running)


@pytest.mark.parametrize("found", ["a word", None, {"holderIdentity": {}}], ids=str)
async def test_the_release_of_a_lease_with_hostile_contents_raises_nothing(server: FakeServer, found: Any) -> None:
    first = election(server, "one")
    running = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    await ended(running)
    server.objects[LEASES.plural, "ns", "lease"]["spec"] = found
    await first.release()
    assert not first.held


async def test_a_release_does_not_wait_for_an_answer_that_does_not_come(server: FakeServer) -> None:
    first = election(server, "one")
    running = asyncio.create_task(first.run())
    await wait(lambda: first.held)
    await ended(running)

    async def silent(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    server.get = silent  # type: ignore[method-assign]
    await asyncio.wait_for(first.release(), 5)
