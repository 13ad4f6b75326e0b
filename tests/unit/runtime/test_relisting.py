"""Lists of several namespaces: each is listed, reported, and retried separately."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.cluster.conftest import EXPERIMENT, FakeServer

from maskrcnn_operator.cluster.cache import WATCHED, Cache
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.resources import EXPERIMENTS, NAMESPACES, PODS, Resource
from maskrcnn_operator.metrics.process import REGISTRY
from maskrcnn_operator.runtime import relisting as module
from maskrcnn_operator.runtime.relisting import Relisting
from maskrcnn_operator.runtime.supervision import EndedEarly

FORBIDDEN = ApiError(403, "Forbidden", 'jobs.batch is forbidden: cannot list "jobs" in the namespace')


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON_SECONDS", 0.0)
    monkeypatch.setattr(module, "FIRST_RETRY", 0.001)


class Bench:
    """Relisting of two namespaces, each with an experiment."""

    def __init__(self, *namespaces: str, interval: float = 60.0, full_interval: float = 3600.0) -> None:
        self.server, self.cache, self.keys = FakeServer(), Cache(), list[Key]()
        for namespace in ("team-a", "team-z"):
            self.add(namespace)
            self.server.add(NAMESPACES, "", {"metadata": {"name": namespace}})
        self.relisting = Relisting(
            self.server,  # type: ignore[arg-type]
            self.cache,
            namespaces,
            self.keys.append,
            interval,
            full_interval=full_interval,
        )

    def add(self, namespace: str, name: str = "e") -> None:
        self.server.add(EXPERIMENTS, namespace, {**EXPERIMENT, "metadata": {"name": name, "generation": 1}})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.relisting.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def verbs(self) -> list[str]:
        found = [verb for verb, _, _ in self.server.reads]
        self.server.reads.clear()
        return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def listed(namespace: str) -> float | None:
    return REGISTRY.get_sample_value("maskrcnn_operator_namespace_listed", {"namespace": namespace})


@pytest.mark.parametrize("order", [("team-a", "team-z"), ("team-z", "team-a")])
async def test_other_namespaces_are_listed_next_to_a_forbidden_one(
    order: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(*order)
    bench.server.broken["team-z"] = FORBIDDEN
    await bench.relisting.once()
    assert bench.cache.listed
    assert bench.cache.last_listed is not None
    assert bench.keys == [Key("team-a", "e")]
    assert (listed("team-a"), listed("team-z")) == (1, 0)
    assert "The namespace team-z cannot be listed, retrying: 403 Forbidden" in caplog.text


async def test_forbidden_namespace_is_retried_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench = Bench("team-a", "team-z")
    bench.server.broken["team-z"] = FORBIDDEN
    await bench.relisting.once()
    async with bench.running():
        await until(lambda: bench.server.reads.count(("list", "jobs", "team-z")) > 5)
        assert caplog.text.count("team-z cannot be listed") == 1
        bench.server.broken["team-z"] = ApiError(500, "InternalError", "no")
        await until(lambda: "500 InternalError" in caplog.text)
        del bench.server.broken["team-z"]
        await until(lambda: Key("team-z", "e") in bench.keys)
        assert listed("team-z") == 1
    assert caplog.text.count("team-z cannot be listed") == 2
    assert caplog.text.count("team-z can be listed again") == 1
    # the other one was listed once, at the start
    assert bench.server.reads.count(("list", "jobs", "team-a")) == 1
    assert listed("team-a") is listed("team-z") is None


async def test_failure_of_a_namespace_does_not_affect_others() -> None:
    bench = Bench("team-z", "team-a")
    bench.server.broken["team-z"] = RecursionError("maximum recursion depth exceeded")
    await bench.relisting.once()
    assert (listed("team-a"), listed("team-z")) == (1, 0)
    async with bench.running():
        del bench.server.broken["team-z"]
        await until(lambda: listed("team-z"))


async def test_keys_of_a_list_that_failed_come_with_the_next_one() -> None:
    bench = Bench("team-a", "team-z")
    bench.add("team-z", "e2")
    bench.add("team-z", "e3")
    bench.server.fail["continue", "maskrcnnexperiments"] = [ApiError(500, "InternalError", "no")]
    await bench.relisting.once()
    async with bench.running():
        await until(lambda: listed("team-z"))
    assert {Key("team-z", name) for name in ("e", "e2", "e3")} <= set(bench.keys)


async def test_start_waits_for_one_namespace_that_can_be_listed() -> None:
    bench = Bench("team-a", "team-z")
    bench.server.broken = {"team-a": ApiError(503, "ServiceUnavailable", "no"), "team-z": FORBIDDEN}
    start = asyncio.create_task(bench.relisting.once())
    await until(lambda: bench.server.reads.count(("list", "jobs", "team-a")) > 3)
    assert not start.done()
    assert not bench.cache.listed
    del bench.server.broken["team-a"]
    await start
    assert bench.cache.listed
    assert not listed("team-z")


async def test_back_off_doubles_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY", 0.5)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 9:
            raise asyncio.CancelledError

    bench = Bench("team-a")
    bench.server.broken["team-a"] = FORBIDDEN
    (place,) = bench.relisting._places.values()
    await bench.relisting._list(place)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await bench.relisting._keep(place)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


async def test_forbidden_namespace_keeps_its_objects_and_a_deleted_one_loses_them() -> None:
    bench = Bench("team-a", "team-z")
    await bench.relisting.once()
    bench.server.broken["team-z"] = FORBIDDEN
    await bench.relisting.once()
    assert bench.cache.experiment("team-z", "e") is not None
    bench.keys.clear()

    # the same problem, but the namespace is gone
    del bench.server.objects["namespaces", "", "team-z"]
    await bench.relisting.once()
    assert bench.cache.experiment("team-z", "e") is None
    assert bench.keys == [Key("team-z", "e")]
    assert bench.cache.experiment("team-a", "e") is not None


async def test_namespace_is_not_read_after_a_server_error() -> None:
    bench = Bench("team-a", "team-z")
    bench.server.broken["team-z"] = ApiError(500, "InternalError", "etcd has no leader")
    del bench.server.objects["namespaces", "", "team-z"]
    bench.cache.put(EXPERIMENTS, bench.server.objects[EXPERIMENTS.plural, "team-z", "e"])
    await bench.relisting.once()
    assert bench.cache.experiment("team-z", "e") is not None


async def test_forbidden_read_of_a_namespace_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench("team-a", "team-z")
    bench.server.broken["team-z"] = FORBIDDEN
    looks: list[str] = []

    async def get(_resource: Any, _namespace: None, name: str) -> None:
        looks.append(name)
        raise FORBIDDEN

    monkeypatch.setattr(bench.server, "get", get)
    for _ in range(3):
        await bench.relisting.once()
    assert looks == ["team-z"]


async def test_resource_that_is_not_served_for_a_while_keeps_its_objects() -> None:
    """An API server that has just started may respond 404 for a resource of a definition."""
    bench = Bench("team-a", "team-z")
    await bench.relisting.once()
    bench.server.broken = {"team-a": ApiError(404, "NotFound", "page not found"), "team-z": FORBIDDEN}
    start = asyncio.create_task(bench.relisting.once())
    await until(lambda: listed("team-a") == 0)
    assert bench.cache.experiment("team-a", "e") is not None
    start.cancel()


async def test_lists_after_the_first_compare_versions() -> None:
    """This includes the list of a new leader."""
    bench = Bench()
    await bench.relisting.once()
    assert set(bench.verbs()) == {"list"}
    await bench.relisting.once()
    assert set(bench.verbs()) == {"list metadata"}
    bench.add("team-a", "new")
    await bench.relisting.once()
    assert sorted(set(bench.verbs())) == ["find", "list metadata"]
    assert bench.keys[-1] == Key("team-a", "new")


async def test_everything_is_read_again_after_the_full_interval() -> None:
    bench = Bench(full_interval=0.0)
    await bench.relisting.once()
    await bench.relisting.once()
    assert set(bench.verbs()) == {"list"}


async def test_lists_are_made_at_their_interval_and_on_request() -> None:
    bench = Bench(interval=0.01)
    await bench.relisting.once()
    async with bench.running():
        await until(lambda: bench.server.reads.count(("list metadata", "pods", None)) >= 3)
    bench = Bench()
    await bench.relisting.once()
    bench.verbs()
    async with bench.running():
        await asyncio.sleep(0.02)
        assert bench.verbs() == []
        bench.relisting.ask()
        await until(lambda: bench.server.reads)


async def test_whole_cluster_has_one_series() -> None:
    bench = Bench()
    await bench.relisting.once()
    assert listed("*") == 1
    async with bench.running():
        await asyncio.sleep(0)
    assert listed("*") is None


async def test_fresh_versions_are_of_a_list_that_begins_later() -> None:
    bench = Bench("team-a", "team-z")
    waiting = asyncio.create_task(bench.relisting.versions("team-a"))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await bench.relisting.once()
    first = await waiting
    assert await bench.relisting.versions("team-a") == first
    async with bench.running():
        fresh = await asyncio.wait_for(bench.relisting.versions("team-a", fresh=True), 10)
        assert fresh[PODS] > first[PODS]
    # only that namespace was listed again
    assert bench.server.reads.count(("list metadata", "jobs", "team-z")) == 0


async def test_versions_of_a_forbidden_namespace_come_when_it_can_be_listed() -> None:
    bench = Bench("team-a", "team-z")
    bench.server.broken["team-z"] = FORBIDDEN
    await bench.relisting.once()
    async with bench.running():
        waiting: asyncio.Task[Any] = asyncio.create_task(bench.relisting.versions("team-z"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        del bench.server.broken["team-z"]
        assert set(await asyncio.wait_for(waiting, 10)) == set(WATCHED)


async def test_namespace_that_is_no_longer_listed_ends_the_task() -> None:
    task = asyncio.create_task(Bench("team-a", "team-z").relisting.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    [one] = [found for found in asyncio.all_tasks() if found.get_name() == "relisting team-z"]
    one.cancel()
    with pytest.raises(EndedEarly, match="The task relisting team-z was canceled"):
        await asyncio.wait_for(task, 10)


async def test_restored_api_server_ends_the_lists() -> None:
    bench = Bench("team-a", "team-z")
    await bench.relisting.once()
    bench.server._version = itertools.count(50)
    with pytest.raises(module.WentBack, match="team-"):
        await bench.relisting.once()


async def test_list_without_a_version_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench("team-a")
    await bench.relisting.once()

    async def without_a_version(*_: Any, **__: Any) -> dict[Resource, int]:
        return dict.fromkeys(WATCHED, 0)

    monkeypatch.setattr(module, "list_namespace", without_a_version)
    await bench.relisting.once()


async def test_list_in_progress_is_not_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    begun = 0

    async def list_namespace(*_: Any, **__: Any) -> dict[Resource, int]:
        nonlocal begun
        begun += 1
        await gates[begun - 1].wait()
        return dict.fromkeys(WATCHED, begun)

    monkeypatch.setattr(module, "list_namespace", list_namespace)
    bench = Bench("team-a")
    listing = asyncio.create_task(bench.relisting.once())
    await until(lambda: begun == 1)
    waiting = asyncio.create_task(bench.relisting.versions("team-a", fresh=True))
    await asyncio.sleep(0)
    gates[0].set()
    await listing
    async with bench.running():
        await until(lambda: begun == 2 or waiting.done())
        assert not waiting.done()
        gates[1].set()
        assert (await asyncio.wait_for(waiting, 10))[PODS] == 2


async def test_request_during_a_list_causes_another_one() -> None:
    bench = Bench("team-a")
    await bench.relisting.once()
    bench.verbs()
    bench.server.before["list", "pods"] = bench.relisting.ask
    async with bench.running():
        bench.relisting.ask()
        await until(lambda: bench.server.reads.count(("list metadata", "jobs", "team-a")) == 2)


async def test_namespace_is_looked_at_again_when_its_problem_has_changed() -> None:
    bench = Bench("team-a", "team-z")
    await bench.relisting.once()
    bench.server.broken["team-z"] = FORBIDDEN
    bench.server.fail["get", "namespaces"] = [FORBIDDEN]
    await bench.relisting.once()
    del bench.server.objects["namespaces", "", "team-z"]
    await bench.relisting.once()
    assert bench.cache.experiment("team-z", "e") is not None
    bench.server.broken["team-z"] = ApiError(404, "NotFound", "no")
    await bench.relisting.once()
    assert bench.cache.experiment("team-z", "e") is None


@pytest.mark.parametrize(("namespaces", "expected"), [(5, 2), (1, 1)])
async def test_few_namespaces_are_listed_at_a_time_and_each_once(
    monkeypatch: pytest.MonkeyPatch, namespaces: int, expected: int
) -> None:
    under_way, twice = list[str](), list[str]()
    most: list[int] = []

    async def list_namespace(_client: Any, _cache: Any, namespace: str, *_: Any, **__: Any) -> dict[Resource, int]:
        twice.extend({namespace} & set(under_way))
        under_way.append(namespace)
        most.append(len(under_way))
        await asyncio.sleep(0)
        under_way.remove(namespace)
        return dict.fromkeys(WATCHED, 1)

    monkeypatch.setattr(module, "list_namespace", list_namespace)
    bench = Bench(*(f"team-{number}" for number in range(namespaces)))
    # a new leader lists while the due lists continue
    await asyncio.gather(bench.relisting.once(), bench.relisting.once())
    assert (max(most), twice) == (expected, [])


async def test_start_waits_longer_after_each_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY", 0.5)
    waits: list[float] = []
    bench = Bench("team-a")
    bench.server.broken["team-a"] = FORBIDDEN

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            del bench.server.broken["team-a"]

    monkeypatch.setattr(asyncio, "sleep", sleep)
    await bench.relisting.once()
    assert waits[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]


async def test_comparing_lists_do_not_delay_a_full_list(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    bench = Bench(full_interval=60.0)
    verbs = []
    for _ in range(3):
        await bench.relisting.once()
        verbs.append(set(bench.verbs()))
        now += 40.0
    assert verbs == [{"list"}, {"list metadata"}, {"list"}]


async def test_simultaneous_requests_are_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    await bench.relisting.once()
    bench.verbs()
    sleep, soon = asyncio.sleep, asyncio.Event()

    async def until_soon(seconds: float) -> None:
        await (soon.wait() if seconds == 123.0 else sleep(seconds))

    monkeypatch.setattr(module, "SOON_SECONDS", 123.0)
    monkeypatch.setattr(asyncio, "sleep", until_soon)
    async with bench.running():
        for _ in range(3):
            bench.relisting.ask()
            await sleep(0.01)
        assert bench.verbs() == []
        soon.set()
        await until(lambda: bench.server.reads)
        await sleep(0.01)
        assert bench.server.reads.count(("list metadata", "jobs", None)) == 1
