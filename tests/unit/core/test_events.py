"""Events: changes that cause one, and changes that do not."""

from __future__ import annotations

from dataclasses import replace

from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import RunKey, RunState

from .world import World


def test_a_failed_step_and_its_failed_experiment_are_warnings(training: World) -> None:
    training.change("train", state=RunState.FAILED, exit_code=64, ended=training.now)
    events = training.look().events
    assert [(event.type, event.reason) for event in events] == [("Warning", "StepFailed"), ("Warning", "Failed")]


def test_start_causes_an_event_although_the_end_of_the_last_attempt_was_not_observed(training: World) -> None:
    first = training.newest("train")
    del training.runs[first.key]
    training.runs[RunKey("train", 2)] = replace(first, attempt=2)
    events = training.look().events
    assert [(event.reason, event.message) for event in events] == [("StepStarted", "step train: attempt 2")]


def test_step_that_succeeds_with_a_report_causes_an_event_with_its_path(training: World) -> None:
    found = TaskResult(0, training.newest("train").fingerprint, report_path="/workspace/nuclei/train/report.html")
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=found)
    events = [(event.type, event.reason, event.message) for event in training.look().events]
    assert events[:2] == [
        ("Normal", "StepSucceeded", "step train: Completed"),
        ("Normal", "ReportWritten", "step train: report /workspace/nuclei/train/report.html"),
    ]
    training.settle()
    assert training.events.count("ReportWritten") == 1


def test_step_that_succeeds_without_a_report_causes_no_event_about_one(training: World) -> None:
    training.succeed("train")
    assert "StepSucceeded" in training.events
    assert "ReportWritten" not in training.events


def test_stop_for_a_suspension_causes_no_restart_event(training: World) -> None:
    training.suspend(True)
    training.settle()
    training.fail("train", 143)
    assert "StepRestarting" not in training.events


def test_each_reason_that_keeps_pods_from_running_causes_one_warning(world: World) -> None:
    world.settle()
    world.events.clear()
    found = []
    for reason, message in (
        ("", ""),
        ("FailedCreate", "exceeded quota: pods=1"),
        ("FailedCreate", "exceeded quota: pods=2"),
        ("", ""),
        ("Unschedulable", "0/3 nodes"),
        ("ImagePullBackOff", "x: not found"),
    ):
        world.change("convert-train", waiting_reason=reason, message=message)
        found += [(event.type, event.reason, event.message) for event in world.look().events]
    assert found == [
        ("Warning", "FailedCreate", "step convert-train: exceeded quota: pods=1"),
        ("Warning", "Unschedulable", "step convert-train: 0/3 nodes"),
        ("Warning", "ImagePullBackOff", "step convert-train: x: not found"),
    ]


def test_starting_or_queued_step_causes_no_warning(world: World) -> None:
    world.settle()
    world.change("convert-train", state=RunState.QUEUED)
    world.change("convert-val", message="0 of 1 pods exist")
    assert world.look().events == ()
    world.change("convert-train", state=RunState.STARTING)
    assert world.look().events == ()


def test_scheduling_gate_causes_no_warning_because_kueue_sets_it_with_a_topology(world: World) -> None:
    world.settle()
    world.change("convert-train", waiting_reason="SchedulingGated", message="1 of 1 pods")
    assert world.look().events == ()
    assert world.step("convert-train").reason == "SchedulingGated"
