"""First responses of the API server, and which of them end the process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from maskrcnn_operator.cluster.client import Page
from maskrcnn_operator.cluster.errors import ApiError, api_error
from maskrcnn_operator.runtime import operator as module
from maskrcnn_operator.runtime.operator import EXIT_CANNOT_RUN, Operator
from maskrcnn_operator.runtime.options import Options

DEADLINE = 20.0
DENIED = api_error(403, "Forbidden", 'maskrcnnexperiments is forbidden: User "o" cannot list resource "m"')
UNKNOWN = api_error(401, "Unauthorized", "Unauthorized")
UNAVAILABLE = api_error(503, "ServiceUnavailable", "starting")


class Server:
    """Server that responds to lists in turn, and repeats the last response."""

    def __init__(self, *answers: ApiError | None) -> None:
        self.answers, self.calls = list(answers), 0

    async def list(self, *_: Any, **__: Any) -> AsyncIterator[Page]:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if answer is not None:
            raise answer
        yield Page([], 1)

    async def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNREACHABLE_SECONDS", 0.01)


@pytest.mark.parametrize("answer", [DENIED, UNKNOWN])
async def test_lasting_refusal_ends_the_process(answer: ApiError, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(answer)
    async with asyncio.timeout(DEADLINE):
        assert await Operator(Options(denied_seconds=0.05), server).run() == EXIT_CANNOT_RUN  # type: ignore[arg-type]
    assert server.calls > 1
    last = caplog.records[-1]
    assert (last.levelno, str(answer) in last.getMessage()) == (logging.ERROR, True)


@pytest.mark.parametrize("answer", [DENIED, UNKNOWN])
async def test_temporary_refusal_does_not_end_the_process(answer: ApiError, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(answer, answer, None)
    assert await Operator(Options(denied_seconds=20.0), server)._can_run(server)  # type: ignore[arg-type]
    assert server.calls == 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "20 s" in caplog.text


async def test_refusals_count_from_the_last_time_the_server_was_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(range(10, 1000, 10))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(readings)))
    # the clock is read once or twice per refusal: 25 s are enough for two in a row, not for three
    server = Server(DENIED, UNAVAILABLE, DENIED, UNAVAILABLE, DENIED, None)
    assert await Operator(Options(denied_seconds=25.0), server)._can_run(server)  # type: ignore[arg-type]


async def test_server_that_is_not_ready_is_waited_for() -> None:
    server = Server(*[UNAVAILABLE] * 20, None)
    assert await Operator(Options(denied_seconds=0.0), server)._can_run(server)  # type: ignore[arg-type]


async def test_resource_that_is_not_served_ends_the_process_at_once() -> None:
    server = Server(api_error(404, "NotFound", "the server could not find the requested resource"))
    assert await Operator(Options(), server).run() == EXIT_CANNOT_RUN  # type: ignore[arg-type]
    assert server.calls == 1
