"""Liveness and readiness probes."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import aiohttp
import pytest

from maskrcnn_operator.runtime import health as module
from maskrcnn_operator.runtime.health import MAX_LAG, Health, serve


def test_a_process_that_never_listed_is_alive_and_not_ready() -> None:
    health = Health(lambda: False, list)
    assert health.problems() == []
    assert not health.ready


def test_old_list_affects_neither_liveness_nor_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health(lambda: True, list)
    later = time.monotonic() + 86_400
    health._beat = later
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert health.problems() == []
    assert health.ready


def test_event_loop_lag_fails_liveness() -> None:
    health = Health(lambda: True, list)
    health._beat = time.monotonic() - 20
    assert "event loop" in health.problems()[0]


def test_ended_task_fails_liveness() -> None:
    health = Health(lambda: True, lambda: ["The task election returned"])
    assert health.problems() == ["The task election returned"]


async def test_probes_respond_503_with_the_problem() -> None:
    listed, ended = False, list[str]()
    runner = await serve(Health(lambda: listed, lambda: ended), 0, "127.0.0.1")
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def probe(path: str) -> tuple[int, str]:
        async with session.get(url + path) as answer:
            return answer.status, await answer.text()

    try:
        async with aiohttp.ClientSession() as session:
            assert await probe("/readyz") == (503, "not listed yet")
            assert await probe("/healthz") == (200, "ok")
            listed = True
            assert await probe("/readyz") == (200, "ok")
            ended.append("The task election returned")
            assert await probe("/healthz") == (503, "The task election returned")
    finally:
        await runner.cleanup()


async def test_late_beat_is_reported_until_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, found = 1000.0, list[list[str]]()
    beats = iter([1.0, 1.0 + MAX_LAG + 5.0, 1.0])

    async def sleep(_: float) -> None:
        nonlocal now
        found.append(health.problems())
        now += next(beats, 0.0)
        if len(found) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    health = Health(lambda: True, list)
    with pytest.raises(asyncio.CancelledError):
        await health.run()
    assert found == [[], [], ["the event loop is 15 s late"], []]
