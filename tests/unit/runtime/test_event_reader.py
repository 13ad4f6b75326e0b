"""Background reads of the events of objects that do not start; a failed or slow read has no other effect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cluster.conftest import FakeServer

from maskrcnn_operator.api.reasons import Reason
from maskrcnn_operator.cluster.errors import ApiError
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.jobs.causes import Subject, WaitCause
from maskrcnn_operator.runtime import event_reader
from maskrcnn_operator.runtime.event_reader import EventReader

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = Key("ns", "nuclei")
JOB = Subject("ns", "job-1", SINCE, is_pod=False)
QUOTA = {
    "type": "Warning",
    "reason": "FailedCreate",
    "message": "exceeded quota",
    "lastTimestamp": "2026-01-01T12:00:05Z",
}
DENIED = ApiError(403, "Forbidden", 'events is forbidden: User "o" cannot list resource "events" in API group ""')


class Server(FakeServer):
    """Client that holds its responses back while ``gate`` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()

    async def events_about(self, namespace: str, uid: str) -> Any:
        found = await super().events_about(namespace, uid)
        await self.gate.wait()
        return found

    @property
    def read(self) -> list[str | None]:
        return [name for _, plural, name in self.reads if plural == "events"]


class Stage:
    """Reader at work."""

    def __init__(self) -> None:
        self.server, self.now, self.heard = Server(), SINCE + timedelta(seconds=15), list[Key]()
        self.reader = EventReader(self.server, self.heard.append, lambda: self.now)  # type: ignore[arg-type]

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def read(self, *subjects: Subject) -> None:
        self.reader.request(KEY, subjects)
        await self.settle()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    running = asyncio.create_task(found.reader.run())
    yield found
    assert not running.done()
    running.cancel()


async def test_read_cause_is_known_and_its_experiment_is_reconciled(stage: Stage) -> None:
    stage.server.events["job-1"] = [QUOTA]
    await stage.read(JOB)
    assert stage.reader.causes == {"job-1": WaitCause(SINCE, stage.now, Reason.FAILED_CREATE, "exceeded quota")}
    assert stage.heard == [KEY]


@pytest.mark.parametrize(
    "error", [DENIED, ApiError(0, "TimeoutError", "no answer"), ApiError(500, "InternalError", "no")]
)
async def test_read_that_fails_is_tried_when_the_next_is_due(stage: Stage, error: ApiError) -> None:
    stage.server.fail["list", "events"] = [error]
    await stage.read(JOB)
    assert stage.reader.causes == {"job-1": WaitCause(SINCE, stage.now)}
    assert stage.heard == [KEY]
    stage.server.events["job-1"] = [QUOTA]
    await stage.read(JOB)
    known = stage.reader.causes["job-1"]
    assert known.reason is Reason.FAILED_CREATE
    stage.server.fail["list", "events"] = [error]
    stage.now += timedelta(seconds=30)
    await stage.read(JOB)
    assert stage.reader.causes == {"job-1": replace(known, read=stage.now)}


async def test_missing_permission_is_logged_once(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stage.server.fail["list", "events"] = [DENIED, DENIED, DENIED]
    for _ in range(3):
        await stage.read(JOB)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_request_that_waits_or_is_under_way_is_not_made_again(stage: Stage) -> None:
    stage.server.gate.clear()
    await stage.read(JOB)
    await stage.read(JOB, replace(JOB, uid="job-2"))
    await stage.read(JOB, replace(JOB, uid="job-2"))
    stage.server.gate.set()
    await stage.settle()
    assert stage.server.read == ["job-1", "job-2"]
    await stage.read(JOB)
    assert stage.server.read == ["job-1", "job-2", "job-1"]


async def test_namespaces_take_turns(stage: Stage) -> None:
    stage.server.gate.clear()
    await stage.read(*(replace(JOB, uid=f"job-{number}") for number in range(1, 5)))
    stage.reader.request(Key("other", "x"), [replace(JOB, namespace="other", uid="other-1")])
    stage.server.gate.set()
    await stage.settle()
    assert stage.server.read == ["job-1", "job-2", "other-1", "job-3", "job-4"]


async def test_causes_are_kept_up_to_a_bound(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_reader, "_KEPT", 2)
    for number in (1, 2, 1, 3):
        await stage.read(replace(JOB, uid=f"job-{number}"))
    assert list(stage.reader.causes) == ["job-1", "job-3"]
