"""A crash after attempts were started and before the status was written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.runs import RunKey, RunState

from .world import World


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(("code", "restarts", "disruptions"), [(75, 1, 0), (143, 0, 1)])
def test_an_attempt_that_failed_counts_though_its_successor_runs_already(
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
    # it was accounted for, so it need not stay
    assert first.key not in training.runs


def test_an_attempt_that_was_counted_is_not_counted_again(training: World) -> None:
    training.fail("train", 75)
    assert training.step("train").restarts == 1
    first = training.newest("train")
    training.runs[RunKey("train", 2)] = replace(first, attempt=2, state=RunState.RUNNING, exit_code=None, ended=None)
    training.settle()
    step = training.step("train")
    assert (step.attempt, step.restarts) == (2, 1)
