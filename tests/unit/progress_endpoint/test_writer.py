"""At most one write per interval and experiment, with the newest progress; the interval grows with the experiments."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import Progress, StepState, StepStatus, UnpublishedStep
from maskrcnn_operator.cluster.budget import CallBudget, CallPurpose, rate_of
from maskrcnn_operator.cluster.errors import api_error
from maskrcnn_operator.progress_endpoint.authorize import Grant
from maskrcnn_operator.progress_endpoint.report import MAX_REPORTED_METRICS
from maskrcnn_operator.progress_endpoint.writer import CONCURRENT_WRITES, ProgressWriter, interval_of

QPS = 50.0
GRANT = Grant("lab", "nuclei", "experiment-uid", "train", 2, "nuclei-train-2-abcde")


class Api:
    """API that records what is applied; ``gate`` holds responses back, ``error`` is raised."""

    def __init__(self, time: Any) -> None:
        self._time = time
        self.applied: list[tuple[float, dict[str, Any]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.on_applied: Callable[[Mapping[str, Any]], None] = lambda _: None
        self.under_way = self.most = 0

    async def __call__(self, namespace: str, name: str, progress: Mapping[str, Any]) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if self.error is not None:
            raise self.error
        self.applied.append((self._time.seconds - 1000.0, dict(progress)))
        self.on_applied(progress)

    @property
    def iterations(self) -> list[tuple[float, int]]:
        return [(moment, progress["iteration"]) for moment, progress in self.applied]


@pytest.fixture
def api(time: Any) -> Api:
    return Api(time)


@pytest.fixture
async def writer(cluster: Any, time: Any, api: Api) -> AsyncIterator[ProgressWriter]:
    writer = ProgressWriter(api, cluster.experiment, clock=time.clock, sleep=time.sleep, now=time.now)
    yield writer
    await writer.close()


def record(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "total_steps": 100, **more}


async def test_the_first_report_is_written_at_once(writer: ProgressWriter, time: Any, api: Api) -> None:
    assert writer.offer(GRANT, record(7, eta="0:01:00", checkpointStep=5, graphical={"loss": 0.5}))
    await time.settle()
    assert api.applied == [
        (
            0.0,
            {
                "step": "train", "iteration": 7, "totalIterations": 100, "percentage": 7, "checkpointStep": 5,
                "estimatedRemainingSeconds": 60, "eta": "0:01:00", "metrics": [{"name": "loss", "value": "0.5"}],
                "lastUpdatedTime": "2026-11-22T12:00:00Z",
            },
        )
    ]  # fmt: skip


async def test_reports_within_the_interval_are_one_write_of_the_newest(
    writer: ProgressWriter, time: Any, api: Api
) -> None:
    writer.offer(GRANT, record(1))
    await time.settle()
    for step in range(2, 10):
        await time.advance(2)
        writer.offer(GRANT, record(step, kpi={"AP": 0.5} if step == 4 else {}))
    assert api.iterations == [(0.0, 1)]
    await time.advance(13)
    assert api.iterations == [(0.0, 1)]
    await time.advance(1)
    assert api.iterations == [(0.0, 1), (30.0, 9)]
    # metrics of a report that was replaced are not lost
    assert api.applied[1][1]["metrics"] == [{"name": "AP", "value": "0.5"}]


async def test_at_most_one_write_within_the_interval(writer: ProgressWriter, time: Any, api: Api) -> None:
    for second in range(300):
        writer.offer(GRANT, record(second))
        await time.advance(1)
    moments = [moment for moment, _ in api.iterations]
    assert len(moments) == 11
    assert all(later - earlier >= 30 for earlier, later in itertools.pairwise(moments))
    assert [iteration for _, iteration in api.iterations] == [0, *(30 * index - 1 for index in range(1, 11))]


async def test_after_a_quiet_time_a_report_is_written_at_once(writer: ProgressWriter, time: Any, api: Api) -> None:
    writer.offer(GRANT, record(1))
    await time.advance(31)
    writer.offer(GRANT, record(2))
    await time.settle()
    assert api.iterations == [(0.0, 1), (31.0, 2)]


async def test_recent_write_of_another_replica_counts(
    writer: ProgressWriter, cluster: Any, time: Any, api: Api
) -> None:
    cluster.change_status(progress=Progress(step="train", iteration=4, last_updated_time=time.now()))
    await time.advance(10)
    writer.offer(GRANT, record(5))
    await time.advance(19)
    assert api.applied == []
    await time.advance(1)
    assert api.iterations == [(30.0, 5)]


async def test_a_report_of_a_step_that_is_not_current_is_not_written(
    writer: ProgressWriter, cluster: Any, time: Any, api: Api
) -> None:
    cluster.change_status(current_step="retrain")
    assert not writer.offer(GRANT, record(1))
    await time.advance(60)
    assert api.applied == []


async def test_a_step_that_ends_before_its_turn_is_not_written(
    writer: ProgressWriter, cluster: Any, time: Any, api: Api
) -> None:
    writer.offer(GRANT, record(1))
    await time.advance(5)
    assert writer.offer(GRANT, record(2))
    cluster.change_step(state=StepState.SUCCEEDED)
    cluster.change_status(current_step=None)
    await time.advance(60)
    assert api.iterations == [(0.0, 1)]


async def test_empty_record_is_not_written(writer: ProgressWriter, time: Any, api: Api) -> None:
    assert not writer.offer(GRANT, {"step": None, "kpi": {}, "graphical": {}})
    await time.advance(60)
    assert api.applied == []


async def test_another_attempt_starts_over_in_the_same_interval(
    writer: ProgressWriter, cluster: Any, time: Any, api: Api
) -> None:
    writer.offer(GRANT, record(50, checkpointStep=50))
    await time.advance(1)
    cluster.change_step(attempt=3, job_name="nuclei-train-3-abcde")
    third = Grant("lab", "nuclei", "experiment-uid", "train", 3, "nuclei-train-3-abcde")
    assert not writer.offer(GRANT, record(51))
    assert writer.offer(third, record(20))
    await time.advance(29)
    assert api.iterations == [(0.0, 50), (30.0, 20)]
    assert "checkpointStep" not in api.applied[1][1]


async def test_failed_write_is_dropped_and_logged_once(
    writer: ProgressWriter, time: Any, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.error = api_error(503, "ServiceUnavailable", "down")
    for step in range(3):
        writer.offer(GRANT, record(step))
        await time.advance(30)
    assert len([line for line in caplog.records if "Could not write the progress" in line.message]) == 1
    api.error = None
    writer.offer(GRANT, record(9))
    await time.settle()
    assert api.iterations == [(90.0, 9)]


async def test_a_slow_api_server_gets_the_newest_and_few_at_a_time(cluster: Any, time: Any, api: Api) -> None:
    names = [f"e{index}" for index in range(40)]
    for name in names:
        metadata = cluster.nuclei.metadata.model_copy(update={"name": name, "uid": name})
        cluster.experiments["lab", name] = cluster.nuclei.model_copy(update={"metadata": metadata})
    writer = ProgressWriter(api, cluster.experiment, clock=time.clock, sleep=time.sleep, now=time.now)
    api.gate.clear()
    for step in range(5):
        for name in names:
            writer.offer(Grant("lab", name, name, "train", 2, "nuclei-train-2-abcde"), record(step))
        await time.settle()
    assert api.under_way == CONCURRENT_WRITES
    api.gate.set()
    await time.settle()
    assert api.most == CONCURRENT_WRITES
    first = [iteration for _, iteration in api.iterations]
    assert first == [0] * CONCURRENT_WRITES + [4] * (len(names) - CONCURRENT_WRITES)
    await writer.close()


async def test_metrics_under_ever_new_names_do_not_grow_without_end(
    writer: ProgressWriter, time: Any, api: Api
) -> None:
    for step in range(5):
        writer.offer(GRANT, record(step, kpi={f"m{step}_{index}": 1 for index in range(40)}))
        await time.advance(30)
    assert max(len(progress["metrics"]) for _, progress in api.applied) <= MAX_REPORTED_METRICS
    assert "m4_0" in {metric["name"] for metric in api.applied[-1][1]["metrics"]}


async def test_close_cancels_pending_writes(writer: ProgressWriter, time: Any, api: Api) -> None:
    writer.offer(GRANT, record(1))
    await time.settle()
    writer.offer(GRANT, record(2))
    await writer.close()
    await time.advance(60)
    assert api.iterations == [(0.0, 1)]


@pytest.mark.parametrize(
    ("reporting", "rate", "seconds"), [(1, 10, 30), (300, 10, 30), (301, 10, 30.1), (2000, 10, 200), (2000, 0, 30)]
)
def test_the_interval_grows_with_the_experiments_that_report(reporting: int, rate: float, seconds: float) -> None:
    assert interval_of(reporting, rate) == pytest.approx(seconds)


class Day:
    """Clock that jumps from one appointment to the next, much faster than a :class:`FakeTime` that ticks."""

    def __init__(self, time: Any) -> None:
        self._time = time
        self._number = itertools.count()
        self._appointments: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, moment: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._appointments, (moment, next(self._number), call))

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            woken = asyncio.get_running_loop().create_future()
            self.at(self._time.seconds + seconds, lambda: woken.done() or woken.set_result(None))
            await woken

    async def pass_until(self, moment: float) -> None:
        while self._appointments and self._appointments[0][0] <= moment:
            self._time.seconds = self._appointments[0][0]
            while self._appointments and self._appointments[0][0] <= self._time.seconds:
                heapq.heappop(self._appointments)[2]()
            for _ in range(12):
                await asyncio.sleep(0)


async def test_two_thousand_trainings_with_old_images_fit_the_budget_and_each_is_written_in_each_interval(
    cluster: Any, time: Any
) -> None:
    number, report_seconds = 2000, 30.0
    day, start = Day(time), time.seconds
    budget = CallBudget(QPS, 100, time.clock, day.sleep)
    written: list[tuple[float, str]] = []
    intervals: list[float] = []

    async def apply(namespace: str, name: str, progress: Mapping[str, Any]) -> None:
        await budget.acquire(CallPurpose.PROGRESS)
        written.append((time.seconds - start, name))

    rate = rate_of(CallPurpose.PROGRESS, QPS)
    writer = ProgressWriter(
        apply, cluster.experiment, rate=rate, on_interval=intervals.append,
        clock=time.clock, sleep=day.sleep, now=time.now,
    )  # fmt: skip

    def training(name: str, since: float) -> None:
        grant = Grant("lab", name, name, "train", 2, "nuclei-train-2-abcde")
        steps = itertools.count()

        def report() -> None:
            writer.offer(grant, {"step": next(steps)})
            day.at(time.seconds + report_seconds, report)

        day.at(since, report)

    for index in range(number):
        name = f"e{index}"
        metadata = cluster.nuclei.metadata.model_copy(update={"name": name, "uid": name})
        cluster.experiments["lab", name] = cluster.nuclei.model_copy(update={"metadata": metadata})
        # all of them start to report within one interval, as after a start of the operator
        training(name, start + index * 30 // number)
    await day.pass_until(start + 430)
    await writer.close()

    assert rate == 10.0
    assert max(intervals) == 200.0
    by_second = Counter(int(moment) for moment, _ in written)
    # the share's part of the burst of 100, and then ten per second
    assert sum(by_second[second] for second in range(10)) <= 20 + 10 * rate
    assert max(by_second[second] for second in range(10, 430)) <= rate + 1
    assert len(written) <= 20 + 430 * rate
    moments: dict[str, list[float]] = {}
    for moment, name in written:
        moments.setdefault(name, []).append(moment)
    assert len(moments) == number
    gaps = [later - earlier for each in moments.values() for earlier, later in itertools.pairwise([0.0, *each, 430.0])]
    assert max(gaps) <= 200.0 + report_seconds


async def test_failures_are_logged_again_after_a_success(
    writer: ProgressWriter, time: Any, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    down = api_error(503, "ServiceUnavailable", "down")
    for step, api.error in enumerate([down, down, None, down]):
        writer.offer(GRANT, record(step))
        await time.advance(30)
    assert len([line for line in caplog.records if "Could not write the progress" in line.message]) == 2


async def test_last_write_of_a_clock_that_is_ahead_delays_no_longer_than_the_interval(
    writer: ProgressWriter, cluster: Any, time: Any, api: Api
) -> None:
    ahead = time.now() + timedelta(hours=1)
    cluster.change_status(progress=Progress(step="train", iteration=4, last_updated_time=ahead))
    writer.offer(GRANT, record(5))
    await time.advance(30)
    assert api.iterations == [(30.0, 5)]


async def test_same_report_in_the_same_second_is_not_written_again(writer: ProgressWriter, time: Any, api: Api) -> None:
    assert writer.offer(GRANT, record(1))
    assert not writer.offer(GRANT, record(1))


async def test_bug_in_a_write_is_logged_and_the_next_report_is_written(
    writer: ProgressWriter, time: Any, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.error = RuntimeError("a bug")
    writer.offer(GRANT, record(1))
    await time.settle()
    assert "Could not write the progress of experiment lab/nuclei" in caplog.text
    api.error = None
    writer.offer(GRANT, record(2))
    await time.settle()
    assert [iteration for _, iteration in api.iterations] == [2]


async def test_interval_shrinks_when_an_experiment_stops_reporting(cluster: Any, time: Any, api: Api) -> None:
    intervals: list[float] = []
    writer = ProgressWriter(
        api, cluster.experiment, rate=1 / 40, on_interval=intervals.append,
        clock=time.clock, sleep=time.sleep, now=time.now,
    )  # fmt: skip
    writer.offer(GRANT, record(1))
    await time.settle()
    await time.advance(40)
    assert intervals == [30.0, 40.0, 30.0]


RETRAIN = Grant("lab", "nuclei", "experiment-uid", "retrain", 1, "nuclei-retrain-1-abcde")


@pytest.fixture
def side_by_side(cluster: Any, api: Api) -> Any:
    """Return the cluster with a second training that isn't the current step, and a cache that shows each write."""
    second = StepStatus(name="retrain", state=StepState.RUNNING, attempt=1, job_name=RETRAIN.job_name)
    cluster.change_status(steps=(*cluster.nuclei.status.steps, second))
    api.on_applied = lambda progress: cluster.change_status(progress=Progress.model_validate_json(json.dumps(progress)))
    return cluster


def waits(progress: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    return [(wait["step"], wait["attempt"], wait["since"]) for wait in progress.get("unpublished", ())]


@pytest.mark.usefixtures("side_by_side")
async def test_wait_of_another_step_is_written_with_the_progress_of_the_current_one(
    writer: ProgressWriter, time: Any, api: Api
) -> None:
    assert writer.offer(GRANT, record(7))
    assert writer.offer(RETRAIN, record(3, unpublishedSeconds=600))
    await time.settle()
    [(_, progress)] = api.applied
    assert (progress["step"], progress["iteration"]) == ("train", 7)
    assert waits(progress) == [("retrain", 1, "2026-11-22T11:50:00Z")]


@pytest.mark.usefixtures("side_by_side")
async def test_wait_of_another_step_is_written_before_the_current_one_reports(
    writer: ProgressWriter, time: Any, api: Api
) -> None:
    assert writer.offer(RETRAIN, record(3, checkpointStep=2, unpublishedSeconds=600))
    await time.settle()
    [(_, progress)] = api.applied
    wait = {"step": "retrain", "attempt": 1, "since": "2026-11-22T11:50:00Z", "checkpointStep": 2}
    assert progress == {"step": "train", "unpublished": [wait]}


@pytest.mark.usefixtures("side_by_side")
async def test_reports_of_another_step_cost_a_write_only_when_its_wait_changes(
    writer: ProgressWriter, time: Any, api: Api
) -> None:
    for seconds in (None, None, 130, 160, 190, None, None):
        writer.offer(RETRAIN, record(3, unpublishedSeconds=seconds))
        await time.advance(30)
    assert [waits(progress) for _, progress in api.applied] == [[("retrain", 1, "2026-11-22T11:58:50Z")], []]


@pytest.mark.usefixtures("side_by_side")
async def test_both_steps_together_are_written_once_in_an_interval(writer: ProgressWriter, time: Any, api: Api) -> None:
    for second in range(0, 300, 10):
        writer.offer(GRANT, record(second, unpublishedSeconds=200 + second))
        writer.offer(RETRAIN, record(second, unpublishedSeconds=second))
        await time.advance(10)
    moments = [moment for moment, _ in api.applied]
    assert all(later - earlier >= 30 for earlier, later in itertools.pairwise(moments))
    assert [wait[:2] for wait in waits(api.applied[-1][1])] == [("train", 2), ("retrain", 1)]


async def test_wait_that_another_replica_has_written_stays(
    writer: ProgressWriter, side_by_side: Any, time: Any, api: Api
) -> None:
    writer.offer(GRANT, record(1))
    await time.settle()
    wait = UnpublishedStep(step="retrain", attempt=1, since=time.now())
    side_by_side.change_status(progress=Progress(step="train", iteration=1, unpublished=(wait,)))
    writer.offer(GRANT, record(2))
    await time.advance(30)
    assert waits(api.applied[-1][1]) == [("retrain", 1, "2026-11-22T12:00:00Z")]


async def test_wait_of_a_step_that_has_ended_is_removed(
    writer: ProgressWriter, side_by_side: Any, time: Any, api: Api
) -> None:
    writer.offer(RETRAIN, record(3, unpublishedSeconds=600))
    await time.advance(30)
    steps = side_by_side.nuclei.status.steps
    side_by_side.change_status(steps=(*steps[:-1], steps[-1].model_copy(update={"state": StepState.SUCCEEDED})))
    assert not writer.offer(RETRAIN, record(3, unpublishedSeconds=600))
    writer.offer(GRANT, record(1))
    await time.advance(30)
    assert "unpublished" not in api.applied[-1][1]


@pytest.mark.usefixtures("side_by_side")
async def test_wait_whose_write_failed_is_written_with_the_next_report(
    writer: ProgressWriter, time: Any, api: Api
) -> None:
    api.error = api_error(503, "ServiceUnavailable", "down")
    writer.offer(RETRAIN, record(3, unpublishedSeconds=600))
    await time.advance(29)
    api.error = None
    assert writer.offer(RETRAIN, record(3, unpublishedSeconds=629))
    await time.advance(1)
    assert waits(api.applied[-1][1]) == [("retrain", 1, "2026-11-22T11:50:00Z")]
