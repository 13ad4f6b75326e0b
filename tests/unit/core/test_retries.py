"""Retries: back-off, reasons of exit codes, and maxRestarts since the newest checkpoint and in all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.retries import back_off, exit_reason

from .conftest import Make
from .world import World


def crash(world: World, checkpoint: int | None = None, code: int = 1) -> None:
    """Let the training fail, after a checkpoint if one is given, and wait until it is retried."""
    if checkpoint is not None:
        world.change("train", checkpoint_step=checkpoint)
    world.fail("train", code)
    world.now += timedelta(minutes=5)
    world.settle()


def test_newer_checkpoint_gives_a_new_budget(training: World) -> None:
    for month in range(10):
        crash(training, checkpoint=100 * (month + 1))
    step = training.step("train")
    assert (step.attempt, step.restarts, step.restarts_since_checkpoint) == (11, 10, 1)
    assert training.experiment.status.restarts == 10
    assert training.live() == {"train"}


def test_budget_is_spent_since_the_newest_checkpoint(training: World) -> None:
    crash(training, checkpoint=100)
    crash(training, checkpoint=200)
    for _ in range(3):
        assert training.step("train").state is not StepState.FAILED
        crash(training, checkpoint=200)
    step = training.step("train")
    assert (step.state, step.restarts) == (StepState.FAILED, 4)
    assert "(attempt 5 failed and maxRestarts (3) is used up since checkpoint 200)" in step.message


def test_budget_of_a_status_without_restarts_since_the_checkpoint_names_no_checkpoint(training: World) -> None:
    """An earlier release counted two restarts."""
    status = training.experiment.status
    steps = tuple(step.model_copy(update={"restarts": 2}) if step.name == "train" else step for step in status.steps)
    training.experiment = training.experiment.with_status(status.model_copy(update={"steps": steps, "restarts": 2}))
    for _ in range(4):
        crash(training)
    step = training.step("train")
    assert (step.state, step.restarts) == (StepState.FAILED, 5)
    assert step.message.endswith("(attempt 4 failed and maxRestarts (3) is used up)")


def test_checkpoint_that_is_not_newer_gives_no_new_budget(training: World) -> None:
    for _ in range(4):
        crash(training, checkpoint=100)
    step = training.step("train")
    assert (step.state, step.restarts) == (StepState.FAILED, 3)


def test_restarts_are_bounded_whatever_checkpoints_there_are(training: World, make: Make) -> None:
    training.edit(make(lambda spec: spec.update(maxRestarts=2)))
    for attempt in range(41):
        assert training.live() == {"train"}
        crash(training, checkpoint=attempt + 1)
    step = training.step("train")
    assert (step.state, step.reason, step.restarts) == (StepState.FAILED, "Error", 40)
    assert "it has been restarted 40 times, 20 times maxRestarts (2)" in step.message


def test_max_restarts_of_zero_tries_once_even_with_a_newer_checkpoint(training: World, make: Make) -> None:
    training.edit(make(lambda spec: spec.update(maxRestarts=0)))
    crash(training, checkpoint=100)
    assert training.step("train").state is StepState.FAILED


def test_disruption_leaves_the_budget_of_restarts_alone(training: World) -> None:
    crash(training)
    crash(training, code=143)
    step = training.step("train")
    assert (step.restarts, step.restarts_since_checkpoint, step.disruptions) == (1, 1, 1)


def test_back_off_is_short_again_after_a_newer_checkpoint(training: World) -> None:
    for _ in range(3):
        crash(training)
    training.change("train", checkpoint_step=100)
    training.fail("train", 1)
    assert training.step("train").next_attempt_time == training.now + timedelta(seconds=10)


@pytest.mark.parametrize("restarts", [3, 60])
def test_resume_gives_both_budgets_back(training: World, restarts: int) -> None:
    for number in range(restarts + 1):
        crash(training, checkpoint=number if restarts == 60 else None)
    assert training.step("train").state is StepState.FAILED
    training.suspend(True)
    training.settle()
    training.suspend(False)
    training.settle()
    step = training.step("train")
    assert (step.restarts, step.restarts_since_checkpoint) == (0, 0)
    assert training.live() == {"train"}


def test_back_off_doubles_from_ten_seconds_to_five_minutes() -> None:
    seconds = [back_off(failures, Settings()) / timedelta(seconds=1) for failures in (1, 2, 3, 4, 5, 6, 7, 1000)]
    assert seconds == [10, 20, 40, 80, 160, 300, 300, 300]


@pytest.mark.parametrize(
    ("exit_code", "task_reason", "reason"),
    [
        (64, "InvalidData", "InvalidData"),
        (64, "", "InvalidInput"),
        (70, "Whatever", "WorkspaceFull"),
        (70, "CacheFull", "CacheFull"),
        (75, "", "TryAgain"),
        (137, "", "OutOfMemory"),
        (143, "", "Stopped"),
        (1, "", "Error"),
        (None, "", "Error"),
    ],
)
def test_reason_of_an_exit_code(exit_code: int | None, task_reason: str, reason: str) -> None:
    assert exit_reason(exit_code, task_reason) == reason


@pytest.mark.parametrize("reason", ["ResultsDeleted", "PointerDeleted"])
@pytest.mark.parametrize("disrupted", [False, True])
def test_step_whose_results_were_deleted_does_not_start_again(training: World, reason: str, *, disrupted: bool) -> None:
    run = training.newest("train")
    result = TaskResult(75, run.fingerprint, 1, reason=reason, message="The results were deleted")
    training.fail("train", 75, result=result, disrupted=disrupted)
    step = training.step("train")
    assert (step.state, step.reason, step.message) == (StepState.FAILED, reason, "The results were deleted")


def test_resume_starts_a_step_whose_results_were_deleted(training: World) -> None:
    run = training.newest("train")
    training.fail("train", 75, result=TaskResult(75, run.fingerprint, 1, reason="ResultsDeleted"))
    training.suspend(True)
    training.settle()
    training.suspend(False)
    training.settle()
    assert (training.step("train").attempt, training.live()) == (2, {"train"})
