"""Lost nodes, runs that vanish, and stops without a request."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.runs import RunKey, RunState

from .conftest import Make
from .world import World

LOST = "nuclei-train-1-1 did not end on node-b: remove the node, or give it the taint"
TRAIN = RunKey("train", 1)


def test_the_rest_of_a_worker_group_is_stopped_when_a_node_is_lost(training: World) -> None:
    training.change("train", lost=LOST)
    plan = training.look()
    assert plan.stop == (TRAIN,)
    step = training.step("train")
    assert (step.state, step.reason, step.message) == (StepState.STOPPING, "NodeLost", LOST)
    training.settle()
    training.fail("train", 143, lost=LOST, disrupted=True)
    step = training.step("train")
    assert (step.state, step.reason, step.message) == (StepState.PENDING, "NodeLost", LOST)
    assert (step.restarts, step.disruptions) == (0, 1)
    assert training.events[-1] == "StepRestarting"
    training.now += timedelta(seconds=10)
    training.settle()
    assert training.step("train").attempt == 2


def test_failure_because_of_a_lost_peer_does_not_count_as_a_restart(training: World) -> None:
    """The remaining pod fails within seconds; the node of its peer is found lost within a minute."""
    training.change("train", failing="pod 0 ended with exit code 70: a peer is gone", exit_code=70)
    training.settle()
    assert training.step("train").reason == "Failing"
    training.change("train", failing="", lost=LOST)
    training.settle()
    assert training.step("train").reason == "NodeLost"
    training.fail("train", 70, lost=LOST, disrupted=True)
    step = training.step("train")
    assert (step.reason, step.restarts, step.disruptions) == ("NodeLost", 0, 1)


def test_attempt_with_a_single_pod_on_a_lost_node_is_retried(training: World) -> None:
    training.fail("train", None, lost=LOST, disrupted=True)
    step = training.step("train")
    assert (step.reason, step.restarts, step.disruptions) == ("NodeLost", 0, 1)


def test_invalid_spec_fails_the_step_although_a_node_is_lost(training: World) -> None:
    training.fail("train", 64, lost=LOST, disrupted=True)
    assert (training.step("train").state, training.step("train").reason) == (StepState.FAILED, "InvalidInput")


def test_a_lost_node_does_not_undo_a_suspension(training: World) -> None:
    training.suspend(True)
    training.settle()
    training.change("train", lost=LOST)
    training.settle()
    assert training.step("train").reason == "Suspended"
    training.fail("train", None, lost=LOST, disrupted=True)
    assert training.conditions()["Suspended"] == "True"
    assert training.step("train").disruptions == 0


def test_failed_job_counts_although_it_was_observed_stopping(training: World) -> None:
    training.change("train", state=RunState.STOPPING, message="pod x on node y: exit code 1")
    training.settle()
    step = training.step("train")
    assert (step.state, step.reason) == (StepState.STOPPING, "Stopping")
    assert training.look().stop == ()
    training.fail("train", 1)
    assert (training.step("train").reason, training.step("train").restarts) == ("BackOff", 1)


def test_job_deleted_by_another_user_is_recreated_and_not_counted(training: World) -> None:
    training.change("train", state=RunState.STOPPING, deleted=True)
    training.settle()
    training.fail("train", 143, deleted=True, disrupted=True)
    step = training.step("train")
    assert (step.state, step.reason, step.restarts) == (StepState.PENDING, "Disrupted", 0)
    # its removal has already been requested
    training.now += timedelta(seconds=10)
    plan = training.look()
    assert ([start.attempt for start in plan.start], plan.forget) == ([2], ())


@pytest.mark.parametrize(
    ("name", "expected"), [("nuclei-train-1-abcde", "its Job nuclei-train-1-abcde"), ("", "its run")]
)
def test_a_vanished_run_names_its_job(training: World, name: str, expected: str) -> None:
    training.change("train", name=name)
    training.settle()
    del training.runs[TRAIN]
    training.settle()
    assert training.step("train").message == f"{expected} is gone"


def test_suspending_a_step_that_already_stops(training: World) -> None:
    training.change("train", state=RunState.STOPPING)
    training.settle()
    training.suspend(True)
    training.settle()
    assert training.step("train").reason == "Suspended"
    training.fail("train", 143)
    assert training.conditions()["Suspended"] == "True"


def test_ended_attempt_that_runs_again_is_stopped(training: World) -> None:
    """The old Job recreates the pod of a lost node while the next attempt backs off."""
    training.fail("train", None, lost=LOST, disrupted=True)
    training.change("train", state=RunState.RUNNING, lost="", ended=None)
    plan = training.look()
    assert plan.stop == (TRAIN,)
    training.now += timedelta(seconds=10)
    training.settle()
    assert training.step("train").reason == "WaitingForPods"
    assert "attempt 1" in training.step("train").message
    training.fail("train", 143)
    training.settle()
    assert training.step("train").attempt == 2


def test_an_experiment_that_is_being_deleted_starts_nothing(world: World) -> None:
    world.look()
    metadata = world.experiment.metadata.model_copy(update={"deletion_timestamp": world.now})
    world.experiment = world.experiment.model_copy(update={"metadata": metadata})
    plan = world.look()
    assert (plan.start, plan.stop, plan.events, plan.write_status) == ((), (), (), False)
    assert plan.status == world.experiment.status


def test_older_attempt_that_runs_again_is_stopped_while_the_next_runs(training: World) -> None:
    first = training.newest("train")
    training.fail("train", 75)
    training.now += timedelta(seconds=10)
    training.settle()
    training.change("train", state=RunState.RUNNING)
    training.runs[TRAIN] = first
    assert training.look().stop == (TRAIN,)
    step = training.step("train")
    assert (step.state, step.attempt) == (StepState.RUNNING, 2)


def test_step_keeps_the_name_of_a_job_that_is_gone(training: World) -> None:
    training.change("train", name="nuclei-train-1-abcde")
    training.settle()
    training.change("train", name="", state=RunState.STOPPING)
    training.settle()
    assert training.step("train").job_name == "nuclei-train-1-abcde"


def test_invalid_spec_fails_the_step_although_it_is_suspended(training: World) -> None:
    training.suspend(True)
    training.settle()
    training.fail("train", 64)
    assert (training.step("train").state, training.step("train").reason) == (StepState.FAILED, "InvalidInput")


def test_node_lost_while_the_run_stops_is_reported(training: World) -> None:
    training.change("train", state=RunState.STOPPING)
    training.settle()
    training.change("train", lost=LOST)
    training.settle()
    assert (training.step("train").reason, training.step("train").message) == ("NodeLost", LOST)


def test_deadline_of_an_older_attempt_does_not_stop_a_newer_one(training: World, make: Make) -> None:
    training.edit(make(lambda spec: spec.update(preRunningDeadlineSeconds=60)))
    first = training.newest("train")
    training.fail("train", 75)
    training.now += timedelta(minutes=5)
    training.settle()
    training.change("train", state=RunState.RUNNING)
    training.runs[TRAIN] = replace(first, state=RunState.STARTING)
    training.look()
    step = training.step("train")
    assert (step.state, step.attempt) == (StepState.RUNNING, 2)
