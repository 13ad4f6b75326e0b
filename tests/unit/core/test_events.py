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


def test_what_keeps_pods_from_running_is_a_warning_once_for_each_reason(world: World) -> None:
    world.settle()
    world.events.clear()
    told = []
    for reason, message in (
        ("", ""),
        ("FailedCreate", "exceeded quota: pods=1"),
        ("FailedCreate", "exceeded quota: pods=2"),
        ("", ""),
        ("Unschedulable", "0/3 nodes"),
        ("ImagePullBackOff", "x: not found"),
    ):
        world.change("convert-train", waiting_reason=reason, message=message)
        told += [(event.type, event.reason, event.message) for event in world.look().events]
    assert told == [
        ("Warning", "FailedCreate", "step convert-train: exceeded quota: pods=1"),
        ("Warning", "Unschedulable", "step convert-train: 0/3 nodes"),
        ("Warning", "ImagePullBackOff", "step convert-train: x: not found"),
    ]


def test_a_step_that_starts_or_is_queued_is_no_warning(world: World) -> None:
    world.settle()
    world.change("convert-train", state=RunState.QUEUED)
    world.change("convert-val", message="0 of 1 pods exist")
    assert world.look().events == ()
    world.change("convert-train", state=RunState.STARTING)
    assert world.look().events == ()


def test_scheduling_gate_is_no_warning_since_kueue_sets_one_at_each_start_with_a_topology(world: World) -> None:
    world.settle()
    world.change("convert-train", waiting_reason="SchedulingGated", message="1 of 1 pods")
    assert world.look().events == ()
    assert world.step("convert-train").reason == "SchedulingGated"
