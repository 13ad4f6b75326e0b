"""Supervised tasks: each kind of early end is logged and reported, an end after a stop is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest

from maskrcnn_operator.runtime import supervision
from maskrcnn_operator.runtime.supervision import Supervisor


async def returns() -> None:
    return


async def fails() -> None:
    raise ZeroDivisionError("no luck")


async def is_cancelled() -> None:
    raise asyncio.CancelledError


async def runs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("work", "problem"),
    [
        (returns, "The task part returned"),
        (fails, "The task part failed: ZeroDivisionError: no luck"),
        (is_cancelled, "The task part was canceled"),
    ],
)
async def test_an_early_end_is_logged_and_reported(
    work: Callable[[], Coroutine[None, None, None]],
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reported = asyncio.Event()
    supervisor = Supervisor(reported.set)
    supervisor.start("other", runs())
    supervisor.start("part", work())
    await asyncio.wait_for(reported.wait(), 5)
    assert supervisor.problems() == [problem]
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, f"{problem}; this replica stops")
    assert ("Traceback" in caplog.text) is (work is fails)
    await supervisor.stop()


async def test_an_end_after_the_stop_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    reported = asyncio.Event()
    supervisor, owned = Supervisor(reported.set), asyncio.Event()

    async def fails_when_cancelled() -> None:
        try:
            await runs()
        finally:
            raise ZeroDivisionError

    async def of_another_owner() -> None:
        await owned.wait()

    task = asyncio.create_task(of_another_owner())
    supervisor.supervise(task)
    supervisor.start("one", runs())
    supervisor.start("two", fails_when_cancelled())
    await asyncio.sleep(0)
    await supervisor.stop()
    assert not task.done()
    owned.set()
    await task
    await asyncio.sleep(0)
    assert not reported.is_set()
    assert supervisor.problems() == []
    assert caplog.records == []


async def test_task_that_does_not_end_is_ignored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "STOP_SECONDS", 0.01)
    release = asyncio.Event()

    async def stays() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    supervisor = Supervisor(lambda: None)
    supervisor.start("stubborn", stays())
    await asyncio.sleep(0)
    await asyncio.wait_for(supervisor.stop(), 5)
    assert "stubborn did not end" in caplog.text
    release.set()
