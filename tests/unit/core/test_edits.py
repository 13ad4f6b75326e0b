"""What an edit of the spec changes: which steps run again, what ends first, and what an invalid edit leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.runs import RunKey, RunState

from .world import World


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


def test_a_change_that_is_taken_back_waits_for_old_runs_too(world: World, make: Any) -> None:
    """Training has lost its result; the evaluation of it, wanted again, is still being stopped."""
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


def test_an_invalid_edit_loses_no_result(training: World, make: Any) -> None:
    training.edit(make(lambda spec: spec["steps"][3].update(modelFrom="nobody")))
    training.settle()
    assert training.live() == {"train"}
    training.succeed("train")
    assert training.step("train").model_path == "/workspace/nuclei/train/model.tlt"
    training.edit(make())
    training.settle()
    assert training.live() == {"evaluate", "prune"}
