"""Runs that ended in unusual ways: the status of the step, and runs that are removed at once."""

from __future__ import annotations

from datetime import timedelta

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.retries import MAX_DISRUPTIONS
from maskrcnn_operator.core.runs import Run, RunKey, RunState

from .conftest import Make
from .world import World

TRAIN = RunKey("train", 1)
FAILED = "pod nuclei-train-1-1 on node node-b: exit code 1"
EVICTED = "pod nuclei-train-1-0 on node node-a: exit code 143 (Evicted): The node was low on memory"


def test_run_that_holds_resources_is_removed_once_its_result_is_written(training: World) -> None:
    """A sidecar is still running after the trainer has ended."""
    run = training.newest("train")
    result = TaskResult(0, run.fingerprint, 1, "/workspace/nuclei/train/model.tlt")
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=result, unfinished=True)
    plan = training.look()
    assert plan.forget == (TRAIN,)
    assert plan.status.step("train") == training.step("train")
    assert training.step("train").state is StepState.SUCCEEDED
    assert "evaluate" in {start.step for start in plan.start}


def test_failed_run_that_holds_resources_is_removed_before_the_next_attempt(training: World) -> None:
    training.change("train", state=RunState.FAILED, exit_code=1, ended=training.now, unfinished=True)
    plan = training.look()
    assert (plan.forget, plan.start) == ((TRAIN,), ())
    assert (training.step("train").reason, training.step("train").restarts) == ("BackOff", 1)
    training.lingering["train"] = "pod nuclei-train-1-0 on node node-a"
    training.now += timedelta(seconds=10)
    training.settle()
    assert (training.step("train").attempt, training.step("train").reason) == (1, "WaitingForPods")
    training.lingering.clear()
    training.settle()
    assert training.step("train").attempt == 2


def test_run_that_holds_resources_is_removed_though_the_spec_is_invalid(training: World, make: Make) -> None:
    training.edit(make(lambda spec: spec["steps"][3].update(modelFrom="nobody")))
    training.change("train", state=RunState.FAILED, exit_code=1, ended=training.now, unfinished=True)
    assert training.look().forget == (TRAIN,)


def test_rest_of_a_worker_group_is_stopped_after_a_failure_that_its_job_does_not_see(training: World) -> None:
    training.change("train", state=RunState.RUNNING, failing=FAILED, exit_code=1)
    plan = training.look()
    assert plan.stop == (TRAIN,)
    step = training.step("train")
    assert (step.state, step.reason, step.message) == (StepState.STOPPING, "Failing", FAILED)
    training.settle()
    training.fail("train", 1, failing="", message=FAILED)
    step = training.step("train")
    assert (step.reason, step.restarts, step.disruptions) == ("BackOff", 1, 0)
    assert FAILED in step.message


def test_suspension_wins_over_a_failure_of_the_same_moment(training: World) -> None:
    training.change("train", state=RunState.RUNNING, failing=FAILED)
    training.suspend(True)
    training.settle()
    training.fail("train", 1, failing="")
    assert (training.step("train").state, training.step("train").restarts) == (StepState.PENDING, 0)


def test_message_of_a_disruption_is_that_of_the_pod(training: World) -> None:
    """The task itself knows only that it was stopped."""
    run = training.newest("train")
    said = TaskResult(143, run.fingerprint, 1, reason="Stopped", message="stopped by SIGTERM", checkpoint_step=40)
    training.fail("train", 143, disrupted=True, message=EVICTED, result=said)
    step = training.step("train")
    assert (step.reason, step.message, step.disruptions, step.restarts) == ("Disrupted", EVICTED, 1, 0)
    assert training.events[-1] == "StepRestarting"


def test_disruptions_without_a_newer_checkpoint_are_bounded(training: World) -> None:
    for _ in range(MAX_DISRUPTIONS):
        training.fail("train", 143, disrupted=True, message=EVICTED)
        training.now += timedelta(minutes=5)
        training.settle()
    step = training.step("train")
    assert (step.state, step.reason, step.attempt) == (StepState.FAILED, "DisruptedTooOften", MAX_DISRUPTIONS)
    assert EVICTED in step.message


def test_attempt_after_one_that_found_a_later_one_is_above_both(training: World) -> None:
    run = training.newest("train")
    found = TaskResult(75, run.fingerprint, 1, reason="Superseded", message="it belongs to attempt 6", later_attempt=6)
    training.fail("train", 75, result=found)
    assert training.step("train").attempt == 6
    training.now += timedelta(minutes=5)
    training.settle()
    assert training.newest("train").attempt == 7


def test_number_of_an_earlier_attempt_changes_nothing(training: World) -> None:
    run = training.newest("train")
    training.fail("train", 75, result=TaskResult(75, run.fingerprint, 1, later_attempt=0))
    assert training.step("train").attempt == 1


def test_failure_without_an_exit_code_has_none_in_the_status(training: World) -> None:
    run = training.newest("train")
    training.fail("train", None, message=FAILED, result=TaskResult(None, run.fingerprint, 1, checkpoint_step=500))
    step = training.step("train")
    assert (step.reason, step.exit_code, step.checkpoint_step) == ("BackOff", None, 500)
    assert step.message == f"Error: {FAILED}"


def test_step_that_fails_for_its_unreadable_results_has_no_exit_code(training: World) -> None:
    for _ in range(MAX_DISRUPTIONS):
        training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=None)
        training.settle()
        assert training.step("train").exit_code is None
        training.now += timedelta(minutes=5)
        training.settle()
    step = training.step("train")
    assert (step.state, step.reason, step.exit_code) == (StepState.FAILED, "DisruptedTooOften", None)


def test_observed_failure_is_reported_although_the_job_is_gone_before_its_end(training: World) -> None:
    """The Job of a worker group with sidecars is deleted after one pod failed; the other pods end unobserved."""
    training.change("train", failing=FAILED, exit_code=1)
    training.settle()
    assert (training.step("train").state, training.step("train").message) == (StepState.STOPPING, FAILED)
    del training.runs[training.newest("train").key]
    training.settle()
    step = training.step("train")
    assert (step.reason, step.restarts, step.disruptions, step.exit_code) == ("BackOff", 1, 0, 1)
    assert step.message == f"Error: {FAILED}"


@pytest.mark.parametrize("code", [143, None])
def test_observed_failure_counts_although_the_failed_pod_is_removed_first(training: World, code: int | None) -> None:
    training.change("train", failing=FAILED, exit_code=1)
    training.settle()
    training.change("train", state=RunState.STOPPING, failing="", exit_code=None, deleted=True)
    training.settle()
    assert (training.step("train").reason, training.step("train").message) == ("Failing", FAILED)
    training.fail("train", code, disrupted=True, message=EVICTED)
    step = training.step("train")
    assert (step.reason, step.restarts, step.disruptions, step.exit_code) == ("BackOff", 1, 0, 1)
    assert step.message == f"Error: {FAILED}"


def test_failure_is_reported_before_the_next_attempt_that_is_due_starts(training: World) -> None:
    """The operator did not run while the attempt failed and its back-off passed."""
    ended = training.now
    training.now += timedelta(minutes=10)
    training.change("train", state=RunState.FAILED, exit_code=143, ended=ended, disrupted=True, message=EVICTED)
    plan = training.look()
    assert (plan.start, plan.wake_at) == ((), training.now)
    assert (training.step("train").reason, training.step("train").message) == ("Disrupted", EVICTED)
    assert training.events[-1] == "StepRestarting"
    assert [start.attempt for start in training.look().start] == [2]


def test_adopted_attempt_has_not_run(training: World) -> None:
    """The next attempt was started, but the status could not be written."""
    assert training.step("train").run_start_time is not None
    training.change("train", state=RunState.FAILED, exit_code=1, ended=training.now)
    training.runs[RunKey("train", 2)] = Run(
        "train", 2, RunState.STARTING, training.newest("train").fingerprint, started=training.now
    )
    training.settle()
    assert (training.step("train").attempt, training.step("train").run_start_time) == (2, None)
