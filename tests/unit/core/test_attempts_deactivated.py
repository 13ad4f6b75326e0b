"""Steps whose Workload Kueue has deactivated, which wait for a user."""

from __future__ import annotations

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.runs import RunState

from .world import World

KUEUE_MESSAGE = "Kueue has suspended its Job: The workload is deactivated due to exceeding the maximum execution time"


@pytest.fixture
def deactivated(training: World) -> World:
    """Return the experiment with a training that Kueue has stopped and does not admit again."""
    training.change("train", state=RunState.QUEUED, waiting_reason="WorkloadDeactivated", message=KUEUE_MESSAGE)
    training.settle()
    return training


def ready(world: World) -> tuple[str, str]:
    condition = world.experiment.status.condition("Ready")
    assert condition is not None
    return condition.reason, condition.message


def test_deactivation_is_the_reason_of_the_experiment_and_one_event(deactivated: World) -> None:
    step = deactivated.step("train")
    assert (step.state, step.reason, step.message) == (StepState.QUEUED, "WorkloadDeactivated", KUEUE_MESSAGE)
    assert ready(deactivated) == ("WorkloadDeactivated", f"step train: WorkloadDeactivated: {KUEUE_MESSAGE}")
    assert deactivated.events.count("WorkloadDeactivated") == 1


def test_reason_stays_when_the_event_is_gone(deactivated: World) -> None:
    deactivated.change("train", waiting_reason="", message="waits for LocalQueue gpus")
    deactivated.settle()
    assert deactivated.step("train").message == KUEUE_MESSAGE
    assert ready(deactivated)[0] == "WorkloadDeactivated"
    assert deactivated.events.count("WorkloadDeactivated") == 1


def test_reason_is_removed_when_kueue_reports_that_the_job_waits(deactivated: World) -> None:
    deactivated.change("train", waiting_reason="Queued", message="waits for LocalQueue gpus")
    deactivated.settle()
    assert (deactivated.step("train").reason, ready(deactivated)[0]) == ("Queued", "Queued")


def test_reason_is_removed_when_the_job_is_admitted_again(deactivated: World) -> None:
    for state in (RunState.STARTING, RunState.RUNNING, RunState.QUEUED):
        deactivated.change("train", state=state, waiting_reason="", message="")
        deactivated.settle()
        assert deactivated.step("train").reason in ("Starting", "Training", "Queued")


def test_a_suspend_and_a_resume_make_a_new_attempt(deactivated: World) -> None:
    deactivated.suspend(True)
    deactivated.settle()
    deactivated.fail("train", None)
    deactivated.suspend(False)
    deactivated.settle()
    step = deactivated.step("train")
    assert (step.attempt, step.reason, step.restarts, step.disruptions) == (2, "Starting", 0, 0)
