"""Progress from the records of a task, whatever is in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import Metric, Progress, UnpublishedStep
from maskrcnn_operator.core.progress import progress_of, reported_wait

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_progress_of_records() -> None:
    record: dict[str, Any] = {
        "step": 300,
        "total_steps": 1000,
        "eta": "0:12:30",
        "graphical": {"loss": 0.61, "learning_rate": 0.02},
        "kpi": {},
        "checkpointStep": 200,
    }
    progress = progress_of("train", record, None, NOW)
    assert progress is not None
    assert (progress.iteration, progress.total_iterations, progress.percentage) == (300, 1000, 30)
    assert (progress.estimated_remaining_seconds, progress.eta, progress.checkpoint_step) == (750, "0:12:30", 200)
    later = progress_of("train", {"kpi": {"AP": 0.3}}, progress, NOW)
    assert later is not None
    assert {metric.name: metric.value for metric in later.metrics} == {
        "loss": "0.61",
        "learning_rate": "0.02",
        "AP": "0.3",
    }
    assert later.iteration == 300
    assert progress_of("train", {"status": "STARTED"}, progress, NOW) == progress
    other = progress_of("evaluate", {"step": 1}, progress, NOW)
    assert other is not None
    assert (other.step, other.total_iterations, other.metrics) == ("evaluate", None, ())


def test_invalid_values_in_a_record_are_ignored() -> None:
    found = progress_of("train", {"step": 4, "kpi": 3, "graphical": {"loss": "NaN"}, "eta": 7}, None, NOW)
    assert found is not None
    assert (found.iteration, found.metrics, found.eta) == (4, (), None)
    assert progress_of("train", {"step": -1, "total_steps": True}, None, NOW) is None
    record = {"step": 10**30, "kpi": {"AP": 10**400, "AP50": 0.5}, "eta": f"{'9' * 5_000} days, 0:00:00"}
    found = progress_of("train", record, None, NOW)
    assert found is not None
    assert (found.iteration, found.metrics) == (None, (Metric(name="AP50", value="0.5"),))
    assert (found.estimated_remaining_seconds, len(found.eta or "")) == (None, 40)


def test_a_record_without_a_field_keeps_that_of_the_record_before() -> None:
    first = {"step": 300, "total_steps": 1000, "eta": "1 day, 0:00:10", "checkpointStep": 200}
    before = progress_of("train", first, None, NOW)
    after = progress_of("train", {"step": 310}, before, NOW)
    assert before is not None
    assert after is not None
    assert (before.estimated_remaining_seconds, after.estimated_remaining_seconds) == (86410, 86410)
    assert (after.iteration, after.percentage) == (310, 31)
    assert (after.total_iterations, after.eta, after.checkpoint_step) == (1000, "1 day, 0:00:10", 200)


def test_a_later_record_replaces_a_metric() -> None:
    before = progress_of("train", {"step": 1, "graphical": {"loss": 0.6}}, None, NOW)
    after = progress_of("train", {"step": 2, "graphical": {"loss": 0.5}}, before, NOW)
    assert after is not None
    assert after.metrics == (Metric(name="loss", value="0.5"),)


@pytest.mark.parametrize(("total", "percentage"), [(200, 100), (0, None)])
def test_percentage_is_bounded(total: int, percentage: int | None) -> None:
    progress = progress_of("train", {"step": 300, "total_steps": total}, None, NOW)
    assert progress is not None
    assert progress.percentage == percentage


def waiting(seconds: object, before: datetime | None = None, now: datetime = NOW) -> datetime | None:
    known = None if before is None else UnpublishedStep(step="train", attempt=2, since=before)
    found = reported_wait("train", 2, {"step": 1, "unpublishedSeconds": seconds}, known, now)
    return None if found is None else found.since


def test_wait_of_a_checkpoint_is_kept_as_the_time_of_its_start() -> None:
    record = {"step": 400, "unpublishedSeconds": 150, "checkpointStep": 300}
    since = NOW - timedelta(seconds=150)
    expected = UnpublishedStep(step="train", attempt=2, since=since, checkpoint_step=300)
    assert reported_wait("train", 2, record, None, NOW) == expected


def test_wait_ends_with_a_record_that_states_none() -> None:
    before = UnpublishedStep(step="train", attempt=2, since=NOW)
    assert reported_wait("train", 2, {"step": 1}, before, NOW) is None


@pytest.mark.parametrize("late", [-60, 0, 60])
def test_wait_keeps_its_start_although_records_take_a_time_to_arrive(late: int) -> None:
    assert waiting(300, NOW, NOW + timedelta(seconds=300 + late)) == NOW


@pytest.mark.parametrize("late", [-61, 61])
def test_wait_of_another_checkpoint_has_another_start(late: int) -> None:
    assert waiting(300, NOW, NOW + timedelta(seconds=300 + late)) == NOW + timedelta(seconds=late)


@pytest.mark.parametrize("seconds", [2**53, 10**10])
def test_wait_is_bounded(seconds: int) -> None:
    assert waiting(seconds) == NOW - timedelta(days=366)


@pytest.mark.parametrize("seconds", [-1, True, 1.5, "150", None, 10**30])
def test_invalid_wait_is_none(seconds: object) -> None:
    assert waiting(seconds) is None


def test_waits_of_all_steps_stay() -> None:
    waits = (UnpublishedStep(step="retrain", attempt=1, since=NOW),)
    found = progress_of("train", {"step": 1}, Progress(step="train", unpublished=waits), NOW)
    assert found is not None
    assert found.unpublished == waits
