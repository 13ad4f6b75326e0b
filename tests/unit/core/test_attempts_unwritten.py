"""Crashes after attempts were started and before the status was written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from maskrcnn_operator.api.status import ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.runs import Run, RunKey, RunState

from .conftest import Make
from .world import World


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("code", "restarts", "disruptions"), [(75, 1, 0), (143, 0, 1)])
def test_failed_attempt_counts_although_the_next_already_runs(
    training: World, known: bool, code: int, restarts: int, disruptions: int
) -> None:
    before = training.experiment.status
    if not known:
        steps = tuple(StepStatus(name="train") if step.name == "train" else step for step in before.steps)
        before = before.model_copy(update={"steps": steps})
    first = training.newest("train")
    training.runs[first.key] = replace(first, state=RunState.FAILED, exit_code=code, ended=training.now)
    training.runs[RunKey("train", 2)] = replace(first, attempt=2, state=RunState.RUNNING)
    training.experiment = training.experiment.with_status(before)
    plan = training.settle()
    step = training.step("train")
    assert (step.state, step.attempt) == (StepState.RUNNING, 2)
    assert (step.restarts, step.disruptions) == (restarts, disruptions)
    assert plan.status.restarts == restarts
    # it has been counted, so it can be removed
    assert first.key not in training.runs


def test_an_attempt_that_was_counted_is_not_counted_again(training: World) -> None:
    training.fail("train", 75)
    assert training.step("train").restarts == 1
    first = training.newest("train")
    training.runs[RunKey("train", 2)] = replace(first, attempt=2, state=RunState.RUNNING, exit_code=None, ended=None)
    training.settle()
    step = training.step("train")
    assert (step.attempt, step.restarts) == (2, 1)


def test_vanished_attempt_does_not_count_if_the_next_exists(training: World) -> None:
    first = training.newest("train")
    del training.runs[first.key]
    training.runs[RunKey("train", 2)] = replace(first, attempt=2)
    training.settle()
    step = training.step("train")
    assert (step.state, step.attempt) == (StepState.RUNNING, 2)
    assert (step.restarts, step.disruptions) == (0, 0)


def test_runs_are_adopted_after_the_status_was_removed(training: World) -> None:
    training.experiment = training.experiment.with_status(ExperimentStatus())
    plan = training.look()
    assert plan.start == ()
    assert (training.step("train").state, training.step("train").attempt) == (StepState.RUNNING, 1)
    assert training.step("convert-train").state is StepState.SUCCEEDED
    assert training.conditions() == {"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}


def forget_train(world: World) -> None:
    """Remove the step from the status, as if the status could not be written after the step was started."""
    status = world.experiment.status
    steps = tuple(StepStatus(name="train") if step.name == "train" else step for step in status.steps)
    world.experiment = world.experiment.with_status(status.model_copy(update={"steps": steps}))


def test_adopted_run_gives_the_step_its_start(training: World) -> None:
    forget_train(training)
    training.now += timedelta(minutes=1)
    training.settle()
    assert training.step("train").start_time == training.newest("train").started


def test_adopted_run_of_another_fingerprint_removes_the_old_results(training: World, make: Make) -> None:
    training.succeed("train")
    training.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    training.now += timedelta(minutes=1)
    fingerprint = resolve(training.experiment).fingerprint("train")
    training.runs[RunKey("train", 2)] = Run("train", 2, RunState.RUNNING, fingerprint, started=training.now)
    training.look()
    step = training.step("train")
    assert (step.state, step.attempt, step.fingerprint) == (StepState.RUNNING, 2, fingerprint)
    assert (step.model_path, step.artifacts, step.metrics) == (None, {}, ())
    assert step.start_time == training.now


def test_adopted_run_with_unreadable_fingerprint_is_stopped_and_retried(training: World) -> None:
    forget_train(training)
    training.change("train", fingerprint="")
    assert training.look().stop == (RunKey("train", 1),)
    assert training.step("train").reason == "SpecChanged"
    training.fail("train", 143)
    assert (training.step("train").attempt, training.step("train").disruptions) == (2, 0)
    assert training.live() == {"train"}
