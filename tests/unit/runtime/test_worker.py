"""Workers: handling of keys whose reconciliation fails, and log lines."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
from collections.abc import Callable

import pytest

from maskrcnn_operator.cluster.errors import ApiError, Conflict, NotFound, TooManyRequests
from maskrcnn_operator.cluster.identity import Key
from maskrcnn_operator.runtime import worker
from maskrcnn_operator.runtime.context import EXPERIMENT
from maskrcnn_operator.runtime.logs import JsonFormatter, TextFormatter, _Context
from maskrcnn_operator.runtime.queue import WorkQueue
from maskrcnn_operator.runtime.worker import NotLeading, Workers

KEY = Key("ns", "nuclei")
OLD = Conflict(409, "Conflict", "old")
MISSING = NotFound(404, "NotFound", "no such experiment")
DEADLINE = 20.0


async def looks(outcomes: list[Exception | float | None], seconds: float = DEADLINE) -> list[float]:
    """Return the times at which a key was reconciled until all outcomes were used."""
    queue: WorkQueue[Key] = WorkQueue()
    moments: list[float] = []
    ended = asyncio.Event()

    async def reconcile(key: Key) -> float | None:
        moments.append(time.monotonic())
        outcome = outcomes[len(moments) - 1]
        if len(moments) == len(outcomes):
            ended.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    workers = Workers(queue, reconcile, 2)
    workers.start()
    queue.add(KEY)
    await asyncio.wait_for(ended.wait(), seconds)
    await workers.stop()
    assert not workers.running
    return moments


@pytest.mark.parametrize(
    "failure", [Conflict(409, "Conflict", "old"), ApiError(500, "InternalError", "no"), ApiError(0, "TimeoutError", "")]
)
async def test_failure_is_retried(failure: Exception) -> None:
    moments = await looks([failure, failure, None])
    assert len(moments) == 3


async def test_deletion_missed_by_a_watch_requests_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "UNHEARD_SECONDS", 0.1)
    queue: WorkQueue[Key] = WorkQueue()
    asked, tries = asyncio.Event(), 0

    async def reconcile(key: Key) -> float | None:
        nonlocal tries
        tries += 1
        raise MISSING

    workers = Workers(queue, reconcile, 1, on_missing=asked.set)
    workers.start()
    queue.add(KEY)
    await asyncio.wait_for(asked.wait(), DEADLINE)
    await workers.stop()
    assert tries > 1


async def test_missing_experiment_is_retried_after_the_watch_had_time() -> None:
    queue: WorkQueue[Key] = WorkQueue(clock=lambda: 0.0)

    async def reconcile(key: Key) -> float | None:
        raise MISSING

    workers = Workers(queue, reconcile, 1)
    workers.start()
    queue.add(KEY)
    async with asyncio.timeout(DEADLINE):
        while not queue._due:
            await asyncio.sleep(0)
    await workers.stop()
    assert queue._due == {KEY: worker.UNHEARD_SECONDS}


async def test_deletion_that_a_watch_delivers_requests_no_list() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    asked, ended = asyncio.Event(), asyncio.Event()
    # deleted between the queue and the write; the watches deliver first its Job's deletion, then its own
    outcomes: list[Exception | None] = [MISSING, MISSING, None]

    async def reconcile(key: Key) -> float | None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            queue.add(key)
            raise outcome
        ended.set()
        return None

    workers = Workers(queue, reconcile, 1, on_missing=asked.set)
    workers.start()
    queue.add(KEY)
    await asyncio.wait_for(ended.wait(), DEADLINE)
    await workers.stop()
    assert not asked.is_set()


@pytest.mark.parametrize("between", ["a success", "another failure", "a stop"])
async def test_later_deletion_of_the_same_name_restarts_the_count(
    monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    asked = asyncio.Event()
    middle: dict[str, list[Exception | None]] = {"a success": [None], "another failure": [OLD], "a stop": []}
    outcomes = [MISSING, *middle[between], MISSING]
    looks = 0

    async def reconcile(key: Key) -> float | None:
        nonlocal looks
        looks += 1
        outcome = outcomes[looks - 1]
        if outcome is not None:
            raise outcome
        return None

    async def look() -> None:
        before = looks
        queue.add(KEY)
        async with asyncio.timeout(DEADLINE):
            while looks == before:
                await asyncio.sleep(0)

    workers = Workers(queue, reconcile, 1, on_missing=asked.set)
    workers.start()
    await look()
    if between == "a stop":
        await workers.stop()
        workers.start()
    else:
        await look()
    # from now on, every response except for the first of a count requests a list
    monkeypatch.setattr(worker, "UNHEARD_SECONDS", 1e-9)
    await look()
    await workers.stop()
    assert not asked.is_set()


async def test_retry_after_is_waited_for() -> None:
    moments = await looks([TooManyRequests(429, "TooManyRequests", "", retry_after=0.5), None])
    assert moments[1] - moments[0] >= 0.49


async def test_unexpected_error_is_logged_and_retried(caplog: pytest.LogCaptureFixture) -> None:
    moments = await looks([ZeroDivisionError("bug"), None])
    assert moments[1] - moments[0] >= 0.99
    assert "Reconciling failed" in caplog.text


async def test_key_is_reconciled_when_the_plan_requests_it() -> None:
    moments = await looks([0.05, 0.0, None])
    assert moments[1] - moments[0] >= 0.05


async def test_key_refused_while_the_lease_is_renewed_late_is_tried_again() -> None:
    moments = await looks([NotLeading(), NotLeading(), None])
    assert len(moments) == 3


async def test_key_refused_without_the_lease_does_not_delay_others() -> None:
    queue: WorkQueue[Key] = WorkQueue()
    other, ended = Key("ns", "other"), asyncio.Event()

    async def reconcile(key: Key) -> float | None:
        if key == KEY:
            raise NotLeading
        ended.set()
        return None

    workers = Workers(queue, reconcile, 1)
    workers.start()
    queue.add_all([KEY, other])
    # the only worker takes the other key when it is done with the first
    await asyncio.wait_for(ended.wait(), DEADLINE)
    await workers.stop()


@pytest.mark.parametrize(("grace", "finished"), [(3 * DEADLINE, True), (0.0, False)])
async def test_a_stop_lets_work_end_within_its_grace(grace: float, finished: bool) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    began, stopping, ended = asyncio.Event(), asyncio.Event(), []

    async def reconcile(key: Key) -> float | None:
        began.set()
        await (stopping.wait() if finished else asyncio.Event().wait())
        ended.append(key)
        return None

    workers = Workers(queue, reconcile, 3)
    workers.start()
    queue.add(KEY)
    await asyncio.wait_for(began.wait(), DEADLINE)
    stop = asyncio.create_task(workers.stop(grace))
    async with asyncio.timeout(DEADLINE):
        while workers.running:
            await asyncio.sleep(0)
    stopping.set()
    await asyncio.wait_for(stop, DEADLINE)
    assert bool(ended) is finished
    assert asyncio.all_tasks() == {asyncio.current_task()}, "a worker still takes keys"


@pytest.mark.parametrize("end", ["exception", "cancellation"])
async def test_a_worker_that_ends_before_the_stop_is_reported(end: str) -> None:
    queue: WorkQueue[Key] = WorkQueue()
    ended: list[str] = []
    one_ended = asyncio.Event()

    async def reconcile(key: Key) -> float | None:
        if end == "cancellation":
            raise asyncio.CancelledError
        return None

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    if end == "exception":
        queue.reset_back_off = broken  # type: ignore[method-assign]
        queue.retry = broken  # type: ignore[assignment, method-assign]

    def on_end(task: asyncio.Task[None]) -> None:
        ended.append(task.get_name())
        one_ended.set()

    workers = Workers(queue, reconcile, 2, on_end=on_end)
    workers.start()
    queue.add(KEY)
    async with asyncio.timeout(DEADLINE):
        await one_ended.wait()
    await workers.stop()
    assert len(ended) == 1, "the other worker was stopped"
    assert ended[0].startswith("worker ")


def record(write: Callable[[logging.Logger], None], formatter: logging.Formatter) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Context())
    handler.setFormatter(formatter)
    logger = logging.Logger("maskrcnn_operator.test")
    logger.addHandler(handler)
    token = EXPERIMENT.set("ns/nuclei")
    try:
        write(logger)
    finally:
        EXPERIMENT.reset(token)
    return stream.getvalue()


def test_json_lines_have_experiment_and_step() -> None:
    text = record(lambda log: log.info("Step %s", "x", extra={"step": "train", "attempt": 2}), JsonFormatter())
    line = json.loads(text)
    assert line["message"] == "Step x"
    assert (line["experiment"], line["step"], line["attempt"], line["level"]) == ("ns/nuclei", "train", 2, "info")


def test_json_lines_have_tracebacks_on_one_line() -> None:
    def write(log: logging.Logger) -> None:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("It failed")

    text = record(write, JsonFormatter())
    assert text.count("\n") == 1
    assert "ValueError" in json.loads(text)["exception"]


def test_text_lines_name_the_experiment() -> None:
    assert "INFO ns/nuclei: hello" in record(lambda log: log.info("hello"), TextFormatter())
