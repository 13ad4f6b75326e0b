"""Replica that loses one of its tasks: it exits with an error and releases the Lease."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.cluster.conftest import EXPERIMENT, FakeServer, Object

from maskrcnn_operator.cluster.errors import ApiError, NotFound
from maskrcnn_operator.cluster.events import EventRecorder
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.cluster.lease import LeaderElection, LeaseTimes
from maskrcnn_operator.cluster.resources import CLAIMS, EXPERIMENTS, LEASES, Resource
from maskrcnn_operator.jobs.config import JobConfig
from maskrcnn_operator.metrics import process
from maskrcnn_operator.progress_endpoint.listener import BoundedListener
from maskrcnn_operator.progress_endpoint.tls import ServerCertificate
from maskrcnn_operator.progress_endpoint.writer import ProgressWriter
from maskrcnn_operator.runtime import operator as operator_module
from maskrcnn_operator.runtime import relisting as relisting_module
from maskrcnn_operator.runtime import worker as worker_module
from maskrcnn_operator.runtime.event_reader import EventReader
from maskrcnn_operator.runtime.health import Health
from maskrcnn_operator.runtime.leading import Leading
from maskrcnn_operator.runtime.operator import Operator
from maskrcnn_operator.runtime.options import Options
from maskrcnn_operator.runtime.relisting import Relisting
from maskrcnn_operator.runtime.worker import NotLeading, Workers

SECONDS = 10.0
OTHER = "another replica"
KEY = Key("ns", "nuclei")

TASKS: dict[str, tuple[Any, str]] = {
    "health": (Health, "run"),
    "certificate": (ServerCertificate, "keep"),
    "election": (LeaderElection, "run"),
    "leading": (Leading, "run"),
    "relisting": (Relisting, "run"),
    "events": (EventRecorder, "run"),
    "event reader": (EventReader, "run"),
    "watching": (operator_module, "watch"),
}


class Server(FakeServer):
    """API server in memory that records reads of the Lease."""

    def __init__(self) -> None:
        super().__init__()
        self.lease_reads = 0

    async def get(self, resource: Resource, *arguments: Any, **options: Any) -> Object:
        self.lease_reads += resource is LEASES
        return await super().get(resource, *arguments, **options)

    async def token_review(self, token: str, audience: str) -> Object:
        raise ApiError(503, "ServiceUnavailable", "no reviews here")

    async def close(self) -> None:
        pass

    @property
    def holder(self) -> str:
        return str(self.objects[LEASES.plural, "ns", "lease"]["spec"]["holderIdentity"])


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def _no_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch(*arguments: Any) -> None:
        stop = next(item for item in arguments if isinstance(item, asyncio.Event))
        await stop.wait()

    monkeypatch.setattr(operator_module, "watch", watch)


def made(server: Server) -> Operator:
    options = Options(
        jobs=JobConfig(default_image="trainer:1", report_url="https://localhost/v1/report"),
        lease_namespace="ns",
        lease_name="lease",
        lease_times=LeaseTimes(duration=15.0, renew_deadline=10.0, retry=0.02),
        health_port=0,
        metrics_port=0,
        report_port=0,
        host="127.0.0.1",
    )
    return Operator(options, server)  # type: ignore[arg-type]


async def started(operator: Operator, server: Server, role: str) -> asyncio.Task[int]:
    """Run an operator until it works in its role."""
    if role == "standby":
        spec = {"holderIdentity": OTHER, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
        server.add(LEASES, "ns", {"metadata": {"name": "lease"}, "spec": spec})
    running = asyncio.create_task(operator.run())
    await wait(lambda: operator.leads if role == "leader" else server.lease_reads > 1)
    return running


async def wait(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not until():
            await asyncio.sleep(0.005)


def workers_of(operator: Operator) -> Workers:
    assert operator._leader is not None
    return operator._leader._workers


async def end(operator: Operator, running: asyncio.Task[int]) -> None:
    operator.stop.set()
    assert await asyncio.wait_for(running, SECONDS) == 0


def mortal(monkeypatch: pytest.MonkeyPatch, name: str) -> asyncio.Event:
    """Return an event on which a task raises an exception."""
    owner, attribute = TASKS[name]
    original, killed = getattr(owner, attribute), asyncio.Event()

    async def work(*arguments: Any) -> None:
        real = asyncio.create_task(original(*arguments))
        try:
            await killed.wait()
        finally:
            real.cancel()
        raise ZeroDivisionError("killed by the test")

    monkeypatch.setattr(owner, attribute, work)
    return killed


@pytest.mark.parametrize("role", ["leader", "standby"])
@pytest.mark.parametrize("name", TASKS)
async def test_a_task_that_fails_ends_the_replica(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, server: Server, name: str, role: str
) -> None:
    kill = mortal(monkeypatch, name)
    running = await started(made(server), server, role)
    kill.set()
    assert await asyncio.wait_for(running, SECONDS) == 1
    assert server.holder == ("" if role == "leader" else OTHER)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"The task {name} failed: ZeroDivisionError: killed by the test; this replica stops"
    assert record.exc_info


async def test_a_worker_that_ends_ends_the_replica(caplog: pytest.LogCaptureFixture, server: Server) -> None:
    running = await started(made(server), server, "leader")
    [worker] = [task for task in asyncio.all_tasks() if task.get_name() == "worker 3"]
    worker.cancel()
    assert await asyncio.wait_for(running, SECONDS) == 1
    assert server.holder == ""
    assert "The task worker 3 was canceled" in caplog.text


@pytest.mark.parametrize("end", ["returned", "failed: ZeroDivisionError: killed by the test", "was canceled"])
@pytest.mark.parametrize("part", ["_accept", "_open_in_turn"])
@pytest.mark.parametrize("role", ["leader", "standby"])
async def test_report_endpoint_that_loses_a_task_ends_the_replica(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    server: Server,
    *,
    role: str,
    part: str,
    end: str,
) -> None:
    lost = asyncio.Event()

    async def work(*_: Any) -> None:
        await lost.wait()
        if end == "was canceled":
            raise asyncio.CancelledError
        if end != "returned":
            raise ZeroDivisionError("killed by the test")

    monkeypatch.setattr(BoundedListener, part, work)
    running = await started(made(server), server, role)
    lost.set()
    assert await asyncio.wait_for(running, SECONDS) == 1
    name = "accepting reports at 127.0.0.1" if part == "_accept" else "opening reports"
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == f"The task {name} {end}; this replica stops"


async def test_stop_before_the_first_list_is_not_a_failure(caplog: pytest.LogCaptureFixture, server: Server) -> None:
    server.fail["list", "pods"] = [ApiError(500, "InternalError", "no") for _ in range(1000)]
    operator = made(server)
    running = asyncio.create_task(operator.run())
    await wait(lambda: "reports" in operator.ports)
    operator.stop.set()
    assert await asyncio.wait_for(running, SECONDS) == 0
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


async def test_namespaces_take_turns(server: Server) -> None:
    operator = made(server)
    running = await started(operator, server, "leader")
    assert operator._leader is not None
    queue = operator._leader._workers._queue
    try:
        # nothing waits in between: the workers take no key before this task waits
        for name in ("a", "b"):
            queue.add(Key("large", name))
        queue.add(Key("small", "a"))
        assert [await queue.get() for _ in range(3)][1] == Key("small", "a")
    finally:
        operator.stop.set()
        await asyncio.wait_for(running, SECONDS)


async def test_a_task_that_fails_before_the_first_list_ends_the_replica(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    kill = mortal(monkeypatch, "certificate")
    server.fail["list", "pods"] = [ApiError(500, "InternalError", "no") for _ in range(1000)]
    operator = made(server)
    running = asyncio.create_task(operator.run())
    await wait(lambda: "reports" in operator.ports)
    kill.set()
    assert await asyncio.wait_for(running, SECONDS) == 1


@pytest.mark.parametrize("role", ["leader", "standby"])
async def test_stop_is_not_a_failure(caplog: pytest.LogCaptureFixture, server: Server, role: str) -> None:
    operator = made(server)
    running = await started(operator, server, role)
    operator.stop.set()
    assert await asyncio.wait_for(running, SECONDS) == 0
    assert server.holder == ("" if role == "leader" else OTHER)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_task_that_fails_after_the_stop_is_not_a_failure(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    kill = mortal(monkeypatch, "relisting")
    operator = made(server)
    running = await started(operator, server, "leader")
    operator.stop.set()
    kill.set()
    assert await asyncio.wait_for(running, SECONDS) == 0


async def test_task_that_fails_right_before_the_stop_is_not_a_failure(server: Server) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    operator = made(server)
    running = await started(operator, server, "leader")
    operator._supervisor.supervise(asyncio.create_task(fails()))
    await asyncio.sleep(0)  # it has failed, and its callback has not run yet
    await end(operator, running)


async def test_standby_queues_nothing_and_may_write_nothing(server: Server) -> None:
    server.add(EXPERIMENTS, "ns", EXPERIMENT)
    operator = made(server)
    running = await started(operator, server, "standby")
    workers = workers_of(operator)
    assert operator.cache.keys() == {KEY}
    assert len(workers._queue) == 0
    with pytest.raises(NotLeading):
        await workers._reconcile(KEY)
    assert [write for write in server.writes if write[1] != "secrets"] == []
    await end(operator, running)


async def test_lease_is_kept_until_the_work_has_ended(server: Server) -> None:
    operator = made(server)
    running = await started(operator, server, "leader")
    workers, working, ready = workers_of(operator), asyncio.Event(), asyncio.Event()

    async def reconcile(_: Key) -> float | None:
        working.set()
        await ready.wait()
        holders.append(server.holder)
        return None

    holders: list[str] = []
    workers._reconcile = reconcile
    workers._queue.add(KEY)
    await asyncio.wait_for(working.wait(), SECONDS)
    operator.stop.set()
    await wait(lambda: not workers.running)
    await asyncio.sleep(0.05)
    ready.set()
    assert await asyncio.wait_for(running, SECONDS) == 0
    assert len(holders) == 1
    assert holders[0].endswith(operator._identity)
    assert server.holder == ""


async def test_experiment_that_stays_missing_requests_a_list(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(worker_module, "UNHEARD_SECONDS", 0.0)
    monkeypatch.setattr(relisting_module, "SOON_SECONDS", 0.0)
    operator = made(server)
    running = await started(operator, server, "leader")
    workers = workers_of(operator)

    async def reconcile(_: Key) -> float | None:
        raise NotFound(404, "NotFound", "no")

    workers._reconcile = reconcile
    server.reads.clear()
    workers._queue.add(KEY)
    await wait(lambda: bool(server.reads))
    await end(operator, running)


async def test_edit_that_an_answer_to_progress_shows_is_reconciled(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    applies: list[Any] = []

    class Writer(ProgressWriter):
        def __init__(self, apply: Any, *arguments: Any, **options: Any) -> None:
            applies.append(apply)
            super().__init__(apply, *arguments, **options)

    monkeypatch.setattr(operator_module, "ProgressWriter", Writer)
    experiment = server.add(EXPERIMENTS, "ns", EXPERIMENT)
    operator = made(server)
    running = await started(operator, server, "leader")
    workers, looked = workers_of(operator), list[Key]()

    async def reconcile(key: Key) -> float | None:
        looked.append(key)
        return None

    await wait(lambda: not len(workers._queue) and not workers._busy)
    workers._reconcile = reconcile
    experiment["metadata"]["generation"] += 1
    server.add(EXPERIMENTS, "ns", experiment)
    await applies[0]("ns", "nuclei", {"step": "train"})
    await wait(lambda: looked == [KEY])
    await end(operator, running)


async def test_unreadable_claim_is_counted_and_logged_and_its_experiment_waits(
    caplog: pytest.LogCaptureFixture, server: Server
) -> None:
    def counted() -> float:
        series = {"kind": CLAIMS.plural}
        return process.REGISTRY.get_sample_value("maskrcnn_operator_unreadable_objects_total", series) or 0.0

    before = counted()
    server.add(EXPERIMENTS, "ns", EXPERIMENT)
    claim = EXPERIMENT["spec"]["workspace"]["persistentVolumeClaim"]["claimName"]
    server.add(CLAIMS, "ns", {"metadata": {"name": claim}, "spec": {"accessModes": {"ReadWriteMany": True}}})
    operator = made(server)
    running = await started(operator, server, "leader")
    try:
        await wait(lambda: "WaitingForClaim" in json.dumps(server.objects[EXPERIMENTS.plural, "ns", "nuclei"]))
    finally:
        operator.stop.set()
        await asyncio.wait_for(running, SECONDS)
    assert counted() == before + 1
    lines = [record.getMessage() for record in caplog.records if "can't be read" in record.getMessage()]
    assert lines == [
        f"persistentvolumeclaims ns/{claim} can't be read and is skipped: "
        "ValueError: spec.accessModes isn't a list of strings"
    ]
