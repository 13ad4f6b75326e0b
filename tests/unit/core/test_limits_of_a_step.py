"""activeDeadlineSeconds of a step: limit on the running time of all its attempts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.runs import RunKey, RunState

from .conftest import Make
from .world import START, World


def limited(seconds: int | None = 60, step: int = 0) -> Any:
    """Return a change that gives a step its deadline."""

    def change(spec: dict[str, Any]) -> None:
        spec["steps"][step]["activeDeadlineSeconds"] = seconds

    return change


@pytest.fixture
def converting(make: Make) -> World:
    """Return the experiment with two running conversions; the first has 60 s for all its attempts."""
    world = World(make(limited()))
    world.settle()
    for name in ("convert-train", "convert-val"):
        world.change(name, state=RunState.RUNNING)
    world.settle()
    return world


def test_only_the_step_that_is_over_its_deadline_is_stopped_and_fails(converting: World) -> None:
    assert converting.look().wake_at == START + timedelta(seconds=60)
    converting.now += timedelta(seconds=59)
    assert not converting.look().stop
    converting.now += timedelta(seconds=1)
    assert converting.look().stop == (RunKey("convert-train", 1),)
    converting.fail("convert-train", 143)
    step = converting.step("convert-train")
    assert (step.state, step.reason) == (StepState.FAILED, "DeadlineExceeded")
    assert step.message == "activeDeadlineSeconds (60) of step convert-train exceeded"
    assert converting.live() == {"convert-val"}


def test_running_step_requests_a_reconciliation_at_its_deadline(make: Make) -> None:
    world = World(make(limited()))
    world.settle()
    world.change("convert-train", state=RunState.QUEUED)
    world.settle()
    world.change("convert-train", state=RunState.RUNNING)
    assert world.look().wake_at == world.now + timedelta(seconds=60)


def test_attempts_count_together_and_the_wait_between_them_does_not(converting: World) -> None:
    converting.now += timedelta(seconds=40)
    converting.fail("convert-train", 75)
    step = converting.step("convert-train")
    assert (step.active_seconds, step.active_since) == (40, None)
    converting.now += timedelta(minutes=10)
    converting.settle()
    converting.change("convert-train", state=RunState.RUNNING)
    converting.settle()
    assert converting.step("convert-train").attempt == 2
    assert converting.look().wake_at == converting.now + timedelta(seconds=20)
    converting.now += timedelta(seconds=20)
    assert converting.look().stop == (RunKey("convert-train", 2),)


@pytest.mark.parametrize("how", ["queued again", "suspended"])
def test_time_in_the_queue_and_time_suspended_do_not_count(converting: World, how: str) -> None:
    converting.now += timedelta(seconds=40)
    if how == "suspended":
        converting.suspend(True)
        converting.settle()
        for name in ("convert-train", "convert-val"):
            converting.fail(name, 143)
    else:
        converting.change("convert-train", state=RunState.QUEUED)
        converting.settle()
    converting.now += timedelta(hours=1)
    plan = converting.settle()
    assert (converting.step("convert-train").active_seconds, plan.stop) == (40, ())


def test_step_with_no_time_left_for_an_attempt_fails(converting: World) -> None:
    converting.now += timedelta(seconds=60)
    converting.fail("convert-train", 75)
    converting.now += timedelta(minutes=10)
    converting.settle()
    step = converting.step("convert-train")
    assert (step.state, step.reason, step.attempt) == (StepState.FAILED, "DeadlineExceeded", 1)


def test_a_higher_deadline_and_a_resume_continue_with_the_time_that_is_left(converting: World, make: Make) -> None:
    converting.now += timedelta(seconds=60)
    converting.settle()
    converting.fail("convert-train", 143)
    converting.edit(make(limited(100)).suspended(True))
    converting.settle()
    converting.fail("convert-val", 143)
    converting.suspend(False)
    converting.settle()
    converting.change("convert-train", state=RunState.RUNNING)
    converting.settle()
    assert converting.look().wake_at == converting.now + timedelta(seconds=40)


def test_resume_does_not_reset_the_active_time(converting: World) -> None:
    converting.now += timedelta(seconds=60)
    converting.settle()
    converting.fail("convert-train", 143)
    converting.suspend(True)
    converting.settle()
    converting.fail("convert-val", 143)
    converting.suspend(False)
    converting.settle()
    assert converting.step("convert-train").reason == "DeadlineExceeded"
    assert converting.live() == {"convert-val"}


def test_a_changed_step_has_all_of_its_time(converting: World, make: Make) -> None:
    def more(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"]["numShards"] = 7

    converting.now += timedelta(seconds=40)
    converting.edit(make(limited(), more))
    converting.settle()
    converting.fail("convert-train", 143)
    converting.now += timedelta(minutes=10)
    converting.settle()
    assert not converting.step("convert-train").active_seconds
    assert "convert-train" in converting.live()


def test_steps_without_a_deadline_keep_no_time(converting: World, make: Make) -> None:
    assert not {"activeSeconds", "activeSince"} & converting.step("convert-val").to_json().keys()
    converting.now += timedelta(seconds=40)
    converting.edit(make())
    converting.settle()
    assert not {"activeSeconds", "activeSince"} & converting.step("convert-train").to_json().keys()
    converting.edit(make(limited(50)))
    converting.settle()
    assert converting.look().wake_at == converting.now + timedelta(seconds=50)


def test_deadline_of_the_experiment_is_reported_if_both_are_exceeded(converting: World, make: Make) -> None:
    converting.edit(make(limited(), lambda spec: spec.update(activeDeadlineSeconds=60)))
    converting.now += timedelta(seconds=60)
    converting.settle()
    assert converting.step("convert-train").message == "activeDeadlineSeconds (60) exceeded"
