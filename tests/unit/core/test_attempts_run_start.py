"""Time at which the newest attempt of a step first ran, and its effect on preRunningDeadlineSeconds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.runs import RunState

from .conftest import Make
from .world import START, World


@pytest.fixture
def starting(world: World) -> World:
    """Return the experiment with succeeded conversions and a training that starts."""
    world.settle()
    world.succeed("convert-train", "convert-val")
    return world


def restarted(world: World) -> None:
    """Simulate that Kueue preempts the training and admits it again; its run stays."""
    world.change("train", state=RunState.QUEUED, started=None)
    world.settle()
    world.now += timedelta(hours=1)
    world.change("train", state=RunState.STARTING, started=world.now)
    world.settle()


def test_run_start_is_of_the_newest_attempt(starting: World) -> None:
    assert starting.step("train").run_start_time is None
    starting.now += timedelta(seconds=30)
    starting.change("train", state=RunState.RUNNING, ran=START + timedelta(seconds=20))
    starting.settle()
    assert starting.step("train").run_start_time == START + timedelta(seconds=20)
    starting.fail("train", 1, ran=START + timedelta(seconds=20))
    assert starting.step("train").run_start_time == START + timedelta(seconds=20)
    starting.now += timedelta(seconds=10)
    starting.settle()
    assert starting.step("train").attempt == 2
    assert starting.step("train").run_start_time is None


def test_run_start_survives_a_preemption(starting: World) -> None:
    starting.change("train", state=RunState.RUNNING, ran=starting.now)
    starting.settle()
    restarted(starting)
    step = starting.step("train")
    assert (step.state, step.attempt, step.run_start_time) == (StepState.STARTING, 1, starting.now - timedelta(hours=1))


def test_ended_attempt_that_was_not_observed_running_has_a_run_start(starting: World) -> None:
    starting.now += timedelta(seconds=30)
    starting.fail("train", 1, ran=START + timedelta(seconds=20))
    assert starting.step("train").run_start_time == START + timedelta(seconds=20)


def test_run_start_of_a_run_without_observed_pods_is_its_start(starting: World) -> None:
    """Jobs and pods are watched separately, so the Job may be seen as Complete first."""
    starting.now += timedelta(seconds=30)
    starting.change("train", state=RunState.RUNNING)
    starting.settle()
    assert starting.step("train").run_start_time == starting.newest("train").started


def test_run_start_is_between_start_and_now_with_a_wrong_clock_of_the_node(starting: World) -> None:
    starting.change("train", state=RunState.RUNNING, ran=starting.now + timedelta(hours=5))
    starting.settle()
    assert starting.step("train").run_start_time == starting.now


def test_running_step_of_an_earlier_release_is_written_with_its_next_change(starting: World) -> None:
    starting.change("train", state=RunState.RUNNING, ran=START)
    starting.settle()
    status = starting.experiment.status
    steps = tuple(step.model_copy(update={"run_start_time": None}) for step in status.steps)
    starting.experiment = starting.experiment.with_status(status.model_copy(update={"steps": steps}))
    assert not starting.look().write_status
    starting.change("train", state=RunState.QUEUED, ran=None)
    starting.settle()
    assert starting.step("train").run_start_time is not None


def test_pre_running_deadline_does_not_apply_to_an_attempt_that_has_run(make: Make) -> None:
    world = World(make(lambda spec: spec.update(preRunningDeadlineSeconds=60)))
    world.settle()
    for name in ("convert-train", "convert-val"):
        world.change(name, state=RunState.RUNNING, ran=world.now)
    world.settle()
    world.succeed("convert-train", "convert-val")
    # the attempt has run, so the deadline no longer applies
    world.change("train", state=RunState.RUNNING, ran=world.now)
    world.settle()
    restarted(world)
    world.now += timedelta(hours=2)
    plan = world.look()
    assert plan.stop == ()
    assert world.step("train").state is StepState.STARTING
    # the deadline applies to a new attempt
    world.fail("train", 1)
    world.now += timedelta(seconds=10)
    world.settle()
    world.now += timedelta(seconds=61)
    assert [key.attempt for key in world.look().stop] == [2]
    assert world.step("train").reason == "PreRunningDeadlineExceeded"
