"""Effects of an edit: steps that run again, runs that end first, and results that an invalid edit leaves alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.runs import RunKey, RunState

from .world import World


def invalid(spec: dict[str, Any]) -> None:
    spec["steps"][3]["modelFrom"] = "nobody"


def test_a_changed_fingerprint_tries_a_failed_step_again(training: World, make: Any) -> None:
    training.fail("train", 64)
    training.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    training.settle()
    assert training.live() == {"train"}
    assert training.step("train").attempt == 2


def test_old_runs_end_before_what_is_upstream_starts(world: World, make: Any) -> None:
    world.settle()
    world.succeed("convert-train", "convert-val", "train")
    world.change("evaluate", state=RunState.RUNNING)
    world.change("prune", state=RunState.RUNNING)
    world.settle()
    before = world.experiment.status
    assert before.model_path is not None
    world.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    plan = world.look()
    assert set(plan.stop) == {RunKey("evaluate", 1), RunKey("prune", 1)}
    assert plan.start == ()
    assert plan.status.model_path is None
    assert (world.step("train").reason, world.step("train").metrics) == ("UpstreamChanged", ())
    assert world.step("evaluate").reason == "SpecChanged"
    world.fail("evaluate", 143)
    assert world.live() == {"prune"}
    world.fail("prune", 143)
    assert world.live() == {"train"}
    assert world.step("train").attempt == 2


def test_reverted_change_waits_for_old_runs(world: World, make: Any) -> None:
    """The training has lost its result; its evaluation, which is needed again, is still being stopped."""
    world.settle()
    world.succeed("convert-train", "convert-val", "train")
    world.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    world.look()
    world.edit(make())
    world.settle()
    assert world.live() == {"evaluate", "prune"}
    assert world.step("train").reason == "UpstreamChanged"
    world.fail("evaluate", 143)
    world.fail("prune", 143)
    assert world.live() == {"train"}


def test_changing_export_runs_export_alone(world: World, make: Any) -> None:
    world.settle()
    for names in (("convert-train", "convert-val"), ("train",), ("evaluate", "prune"), ("retrain",)):
        world.succeed(*names)
    world.succeed("evaluate-pruned", "inference", "export")
    world.edit(make(lambda spec: spec["steps"][8]["export"].update(dataType="fp16")))
    world.settle()
    assert world.live() == {"export"}
    assert world.experiment.status.export_path is None
    assert world.experiment.status.completion_time is None


def test_a_removed_step_leaves_the_status_and_its_run_ends(training: World, make: Any) -> None:
    training.edit(make(lambda spec: spec.update(steps=spec["steps"][:2])))
    plan = training.look()
    assert RunKey("train", 1) in plan.stop
    assert [step.name for step in plan.status.steps] == ["convert-train", "convert-val"]


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        (lambda s: s["steps"][3].update(modelFrom="nobody"), "InvalidSpec", "spec.steps[3].modelFrom"),
        (lambda s: s["steps"][5]["experiment"].update(totalSteps=0), "InvalidSpec", "spec.steps[5].experiment"),
    ],
)
def test_an_invalid_spec_starts_nothing(make: Any, change: Any, reason: str, field: str) -> None:
    world = World(make(change))
    world.settle()
    assert world.runs == {}
    assert world.conditions() == {"Stalled": "True", "Succeeded": "Unknown", "Ready": "False"}
    ready = world.experiment.status.condition("Ready")
    assert ready is not None
    assert ready.reason == reason
    assert field in ready.message


def test_edited_step_loses_the_report_of_its_old_result(training: World, make: Any) -> None:
    training.succeed("train", "evaluate")
    assert training.step("evaluate").report_path == "/workspace/nuclei/evaluate/report.html"
    training.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    training.look()
    assert training.step("evaluate").report_path is None


def test_an_invalid_edit_loses_no_result(training: World, make: Any) -> None:
    training.edit(make(lambda spec: spec["steps"][3].update(modelFrom="nobody")))
    training.settle()
    assert training.live() == {"train"}
    training.succeed("train")
    assert training.step("train").model_path == "/workspace/nuclei/train/model.tlt"
    training.edit(make())
    training.settle()
    assert training.live() == {"evaluate", "prune"}


def test_an_edit_that_changes_no_fingerprint_leaves_a_failed_step_as_it_is(training: World, make: Any) -> None:
    training.fail("train", 64)
    training.edit(make(lambda spec: spec.update(maxRestarts=9)))
    training.settle()
    assert (training.step("train").reason, training.step("train").attempt) == ("InvalidInput", 1)
    assert training.live() == set()


def test_invalid_spec_is_stalled_from_the_first_reconciliation(make: Any) -> None:
    world = World(make(invalid))
    world.look()
    assert world.conditions() == {"Stalled": "True", "Succeeded": "Unknown", "Ready": "False"}


def test_an_invalid_edit_stops_a_removed_step_only_when_it_suspends(training: World, make: Any) -> None:
    def remove_train(spec: dict[str, Any]) -> None:
        invalid(spec)
        del spec["steps"][2]

    training.edit(make(remove_train))
    assert training.look().stop == ()
    training.suspend(True)
    assert training.look().stop == (RunKey("train", 1),)


def test_a_suspension_of_an_invalid_spec_stops_what_runs(training: World, make: Any) -> None:
    training.edit(make(invalid).suspended(True))
    assert training.look().stop == (RunKey("train", 1),)
    step = training.step("train")
    assert (step.state, step.reason) == (StepState.STOPPING, "Suspended")
    training.settle()
    assert "Suspended" not in training.conditions()
    training.fail("train", 143)
    assert (training.step("train").state, training.step("train").disruptions) == (StepState.PENDING, 0)
    assert training.conditions()["Suspended"] == "True"


def test_nothing_starts_while_a_removed_step_still_runs(training: World, make: Any) -> None:
    """It may read the results of any step."""

    def change(spec: dict[str, Any]) -> None:
        spec["steps"][1]["datasetConvert"]["numShards"] = 7
        spec["steps"] = spec["steps"][:2]

    training.edit(make(change))
    training.settle()
    assert training.live() == {"train"}
    assert training.step("convert-val").reason == "UpstreamChanged"
    training.fail("train", 143)
    assert training.live() == {"convert-val"}


def test_a_suspension_waits_for_the_run_of_a_removed_step(training: World, make: Any) -> None:
    def keep_evaluation_alone(spec: dict[str, Any]) -> None:
        spec["steps"] = [*spec["steps"][:2], {**spec["steps"][3], "modelPath": "/workspace/model.tlt"}]

    training.edit(make(keep_evaluation_alone).suspended(True))
    training.settle()
    assert training.conditions() == {"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}
    training.fail("train", 143)
    assert training.conditions()["Suspended"] == "True"


@pytest.mark.parametrize(("code", "reason"), [(None, "WaitingForSteps"), (64, "UpstreamFailed")])
def test_a_back_off_ends_when_the_step_has_to_wait_for_another(
    training: World, make: Any, code: int | None, reason: str
) -> None:
    training.succeed("train")
    training.fail("prune", 75)
    assert training.step("prune").next_attempt_time is not None
    training.edit(make(lambda spec: spec["steps"][4].update(dependsOn=["evaluate"])))
    if code is None:
        training.settle()
    else:
        training.fail("evaluate", code)
    assert (training.step("prune").reason, training.step("prune").next_attempt_time) == (reason, None)


def test_an_edit_that_changes_no_fingerprint_ends_no_back_off(training: World, make: Any) -> None:
    training.fail("train", 75)
    until = training.step("train").next_attempt_time
    training.edit(make(lambda spec: spec.update(maxRestarts=9)))
    training.settle()
    assert training.step("train").next_attempt_time == until
    assert training.live() == set()


def test_a_suspension_leaves_the_reason_of_a_step_that_is_being_stopped(training: World, make: Any) -> None:
    training.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    training.settle()
    training.suspend(True)
    training.settle()
    step = training.step("train")
    assert (step.state, step.reason, step.message) == (StepState.STOPPING, "SpecChanged", "the step was changed")


def test_reverted_change_gives_no_new_budget_of_disruptions(training: World, make: Any) -> None:
    training.fail("train", 143, checkpoint_step=100)
    training.now += timedelta(seconds=10)
    training.settle()
    training.change("train", state=RunState.RUNNING, checkpoint_step=100)
    training.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    training.settle()
    training.edit(make())
    training.settle()
    training.fail("train", 143)
    assert (training.step("train").checkpoint_step, training.step("train").disruptions) == (100, 1)
