"""Events: what is told of a change, and what is not."""

from __future__ import annotations

from dataclasses import replace

from maskrcnn_operator.core.runs import RunKey, RunState

from .world import World


def test_a_failed_step_and_its_failed_experiment_are_warnings(training: World) -> None:
    training.change("train", state=RunState.FAILED, exit_code=64, ended=training.now)
    events = training.look().events
    assert [(event.type, event.reason) for event in events] == [("Warning", "StepFailed"), ("Warning", "Failed")]


def test_an_attempt_is_started_although_the_one_before_it_was_not_seen_to_end(training: World) -> None:
    first = training.newest("train")
    del training.runs[first.key]
    training.runs[RunKey("train", 2)] = replace(first, attempt=2)
    events = training.look().events
    assert [(event.reason, event.message) for event in events] == [("StepStarted", "step train: attempt 2")]


def test_a_stop_for_a_suspension_is_no_restart(training: World) -> None:
    training.suspend(True)
    training.settle()
    training.fail("train", 143)
    assert "StepRestarting" not in training.events
