"""Watches: the version from which each continues after any end, and undecodable lines in kopf's stream."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import aiohttp
import kopf
import pytest
from aiohttp import web
from kopf._cogs.clients import errors

from maskrcnn_operator.cluster.resources import EXPERIMENTS, JOBS, PODS, Resource
from maskrcnn_operator.runtime import watching as module
from maskrcnn_operator.runtime.supervision import EndedEarly
from maskrcnn_operator.runtime.watching import Watch, connection_info, kopf_events, watch, watch_settings

DEEP = b'{"type": "ADDED", "object": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001 + b"\n"


def event(kind: str, version: int | None = None, **more: Any) -> dict[str, Any]:
    metadata = {"uid": "1", **({"resourceVersion": str(version)} if version else {})}
    return {"type": kind, "object": {"metadata": metadata, **more}}


def refusal(kind: type[errors.APIError], status: int) -> errors.APIError:
    return kind("no", status=status, headers={})


class Lists:
    """Versions of lists: 100, and 1,000 more for each requested list."""

    def __init__(self) -> None:
        self.version, self.asked = 100, 0

    async def versions(self, namespace: str | None, *, fresh: bool = False) -> dict[Resource, int]:
        if fresh:
            self.asked += 1
            self.version += 1000
        return dict.fromkeys((EXPERIMENTS, JOBS, PODS), self.version)


class Script:
    """Script of watches: each is a list of events, which an exception may end; the last watch is silent and endless."""

    def __init__(self, *watches: Iterable[Any]) -> None:
        self.watches, self.since, self.heard = list(watches), list[int](), list[Any]()

    async def events(self, resource: Resource, namespace: str | None, since: int) -> AsyncIterator[Any]:
        self.since.append(since)
        if len(self.since) > len(self.watches):
            await asyncio.Event().wait()
        for item in self.watches[len(self.since) - 1]:
            if isinstance(item, BaseException):
                raise item
            yield item

    def hear(self, resource: Resource, heard: Any) -> None:
        self.heard.append(heard)

    async def play(self, lists: Lists | None = None) -> Lists:
        """Watch until every watch of the script has ended and one more has started."""
        lists = lists or Lists()
        task = asyncio.create_task(Watch(PODS, "ns", lists, self.hear, self.events).run())
        async with asyncio.timeout(10):
            while len(self.since) <= len(self.watches) and not task.done():
                await asyncio.sleep(0.001)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return lists


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.001)


async def test_watch_starts_from_the_list_and_continues_from_the_last_event() -> None:
    script = Script([event("ADDED", 105), event("MODIFIED", 107)], [], [event("BOOKMARK", 180)])
    lists = await script.play()
    assert script.since == [100, 107, 107, 180]
    assert [heard["type"] for heard in script.heard] == ["ADDED", "MODIFIED"]
    assert lists.asked == 0


async def test_event_without_a_version_keeps_the_version_to_continue_from() -> None:
    script = Script([event("ADDED", 105), event("MODIFIED")])
    await script.play()
    assert script.since == [100, 105]


@pytest.mark.parametrize(
    "error",
    [
        refusal(errors.APIServerError, 503),
        refusal(errors.APITooManyRequestsError, 429),
        aiohttp.ClientConnectionError("refused"),
        TimeoutError("slow"),
        OSError("reset"),
    ],
)
async def test_watch_of_an_unavailable_api_server_resumes_from_the_same_version(error: Exception) -> None:
    script = Script([event("ADDED", 105), error], [error])
    lists = await script.play()
    assert script.since == [100, 105, 105]
    assert lists.asked == 0


@pytest.mark.parametrize(
    "end",
    [
        event("ERROR", code=410, message="too old resource version"),
        event("ERROR", code=500, message="unable to decode an event"),
        {"type": "ERROR", "object": None},
        RecursionError("maximum recursion depth exceeded"),
        json.JSONDecodeError("Expecting value", "", 0),
        refusal(errors.APIForbiddenError, 403),
        refusal(errors.APINotFoundError, 404),
        KeyError("metadata"),
    ],
)
async def test_watch_that_cannot_continue_starts_from_a_new_list(end: Any) -> None:
    script = Script([event("ADDED", 105), end], [event("ADDED", 1107)])
    lists = await script.play()
    assert script.since == [100, 1100, 1107]
    assert lists.asked == 1


async def test_repeated_problem_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    down = refusal(errors.APIServerError, 503)
    await Script([down], [down], [refusal(errors.APIServerError, 500)], [event("ADDED", 105), down]).play()
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.getMessage().count("Watch of pods in ns ended") for line in lines] == [1, 1, 1]


@pytest.mark.parametrize("hostile", [None, 5, [], {}, {"type": "ADDED"}, {"type": "ADDED", "object": 1}])
async def test_hostile_event_is_passed_on_and_the_watch_continues(hostile: Any) -> None:
    script = Script([hostile, event("ADDED", 105)])
    lists = await script.play()
    assert script.since == [100, 105]
    assert script.heard == [hostile, event("ADDED", 105)]
    assert lists.asked == 0


async def test_waits_between_tries_double_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.2)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            raise asyncio.CancelledError

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    script = Script(*([] for _ in range(7)), [event("ADDED", 105)])
    with pytest.raises(asyncio.CancelledError):
        await Watch(PODS, "ns", Lists(), script.hear, script.events).run()
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.2]


async def test_broken_watch_does_not_affect_others() -> None:
    begun: list[tuple[str, str | None]] = []

    async def events(resource: Resource, namespace: str | None, since: int) -> AsyncIterator[Any]:
        begun.append((resource.plural, namespace))
        if (resource, namespace) == (PODS, "team-z"):
            raise RuntimeError("a bug")
        await asyncio.Event().wait()
        yield None

    stop = asyncio.Event()
    task = asyncio.create_task(watch(Lists(), lambda *_: None, events, ("team-a", "team-z"), stop))
    async with asyncio.timeout(10):
        while begun.count(("pods", "team-z")) < 4:
            await asyncio.sleep(0.001)
    assert len(set(begun)) == 6
    assert all(begun.count(place) == 1 for place in set(begun) - {("pods", "team-z")})
    assert not task.done()
    stop.set()
    await asyncio.wait_for(task, 10)


async def test_canceled_watch_ends_all_streams() -> None:
    begun = []

    async def events(resource: Resource, namespace: str | None, since: int) -> AsyncIterator[Any]:
        begun.append((resource, namespace))
        await asyncio.Event().wait()
        yield None

    task = asyncio.create_task(watch(Lists(), lambda *_: None, events, ("team-a", "team-z"), asyncio.Event()))
    async with asyncio.timeout(10):
        while len(begun) < 6:
            await asyncio.sleep(0.001)
    [one] = [found for found in asyncio.all_tasks() if found.get_name() == "watch of pods in team-z"]
    one.cancel()
    with pytest.raises(EndedEarly, match="The task watch of pods in team-z was canceled"):
        await asyncio.wait_for(task, 10)
    assert not [found for found in asyncio.all_tasks() if found.get_name().startswith("watch of")]


class Streams:
    """API server that responds to each watch with lines."""

    def __init__(self, *lines: bytes, status: int = 200) -> None:
        self.lines, self.status = lines, status
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = web.StreamResponse(status=self.status, headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        for line in self.lines:
            await answer.write(line)
        return answer

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Callable[..., Any]]:
        application = web.Application()
        application.router.add_get("/{path:.*}", self.handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

        async def login() -> kopf.ConnectionInfo:
            server = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return kopf.ConnectionInfo(server=server, token="secret")  # noqa: S106 - of a test

        try:
            yield kopf_events(login)
        finally:
            await runner.cleanup()


def line(item: Any) -> bytes:
    return json.dumps(item).encode() + b"\n"


async def collected(events: AsyncIterator[Any]) -> tuple[list[Any], Exception | None]:
    found: list[Any] = []
    try:
        async with aclosing(events):  # type: ignore[type-var]
            async for item in events:
                found.append(item)
    except Exception as error:  # noqa: BLE001 - the test asserts on it
        return found, error
    return found, None


async def test_kopf_streams_the_events_since_a_version() -> None:
    streams = Streams(line(event("ADDED", 5)), line(event("BOOKMARK", 6)))
    async with streams.served() as events:
        found, error = await collected(events(PODS, "ns", 4))
        await collected(events(EXPERIMENTS, None, 4))
    assert (found, error) == ([event("ADDED", 5), event("BOOKMARK", 6)], None)
    pods, experiments = streams.requests
    assert pods.path == "/api/v1/namespaces/ns/pods"
    assert pods.headers["Authorization"] == "Bearer secret"
    wanted = {"watch": "true", "resourceVersion": "4", "labelSelector": "maskrcnn.dev/experiment"}
    assert wanted.items() <= dict(pods.query).items()
    assert experiments.path == "/apis/maskrcnn.dev/v1alpha1/maskrcnnexperiments"
    assert "labelSelector" not in experiments.query


@pytest.mark.parametrize("bad", [DEEP, b"<html>\n", b'{"type": "ADD\n', b"\xff\xfe\n"])
async def test_kopf_ends_at_a_line_that_it_cannot_decode(bad: bytes) -> None:
    """This is the reason for :func:`test_watch_that_cannot_continue_starts_from_a_new_list`."""
    async with Streams(line(event("ADDED", 5)), bad, line(event("ADDED", 7))).served() as events:
        found, error = await collected(events(PODS, "ns", 4))
    assert found == [event("ADDED", 5)]
    assert isinstance(error, RecursionError | ValueError)
    assert not isinstance(error, module._UNAVAILABLE)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 429, 500, 503])
async def test_refused_watch_ends_at_once_without_a_log_line(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """By default, kopf would retry by itself, and wait forever for other credentials after a 401."""
    async with Streams(line({"kind": "Status", "message": "no"}), status=status).served() as events:
        async with asyncio.timeout(10):
            found, error = await collected(events(PODS, "ns", 4))
    assert found == []
    assert isinstance(error, errors.APIError)
    assert error.status == status
    assert isinstance(error, module._UNAVAILABLE) == (status in (429, 500, 503))


def test_settings_leave_every_decision_to_the_supervisor() -> None:
    settings = watch_settings()
    assert tuple(settings.networking.error_backoffs) == ()  # type: ignore[arg-type]
    selectors = dict(settings.watching.label_selectors)
    assert set(selectors.values()) == {"maskrcnn.dev/experiment"}
    assert len(selectors) == 2


async def test_connection_is_the_official_clients() -> None:
    async def load() -> Any:
        async def token(*_: object, **__: object) -> str:
            return "Bearer secret"

        return SimpleNamespace(
            host="https://api", ssl_ca_cert="/ca", verify_ssl=True, cert_file=None, key_file=None, proxy=None,
            get_api_key_with_prefix=token,
        )  # fmt: skip

    info = await connection_info(load)
    assert (info.server, info.ca_path, info.insecure, info.token) == ("https://api", "/ca", False, "secret")


async def test_watch_that_has_lasted_is_started_again_without_a_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.2)
    durations = iter([0.0, 0.0, module.LONG_ENOUGH + 1.0, 0.0])
    now, waits = 1000.0, list[float]()

    async def events(*_: Any) -> AsyncIterator[Any]:
        nonlocal now
        now += next(durations)
        return
        yield

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    with pytest.raises(asyncio.CancelledError):
        await Watch(PODS, "ns", Lists(), lambda *_: None, events).run()
    assert waits == [0.2, 0.4, 0.2, 0.4]
