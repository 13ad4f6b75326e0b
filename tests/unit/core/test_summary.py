"""Fields of the status for the experiment as a whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import Metric
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import RunState

from .conftest import Make
from .world import START, World


def test_of_two_models_of_the_same_second_the_later_in_the_spec_is_shown(make: Make) -> None:
    def two(spec: dict[str, Any]) -> None:
        spec["steps"] = [*spec["steps"][:3], {"name": "second", "train": {}}]

    world = World(make(two))
    world.settle()
    world.succeed("convert-train", "convert-val")
    for name in ("train", "second"):
        result = TaskResult(0, world.newest(name).fingerprint, model_path=f"/workspace/{name}.tlt")
        world.change(name, state=RunState.SUCCEEDED, ended=world.now, result=result)
    world.settle()
    assert world.experiment.status.model_path == "/workspace/second.tlt"


def test_metrics_of_an_exported_model_are_not_those_of_the_experiment(make: Make) -> None:
    def evaluate_the_export(spec: dict[str, Any]) -> None:
        exported = {"name": "evaluate-export", "evaluate": {}, "modelFrom": "export"}
        spec["steps"] = [*spec["steps"][:4], spec["steps"][8], exported]

    world = World(make(evaluate_the_export))
    world.settle()
    world.succeed("convert-train", "convert-val", "train", "evaluate", "export", "evaluate-export")
    assert world.step("evaluate-export").metrics == (Metric(name="AP", value="0.15"),)
    assert world.experiment.status.metrics == (Metric(name="AP", value="0.8"),)


def test_the_start_of_an_experiment_stays_when_its_steps_run_again(make: Make) -> None:
    def one(spec: dict[str, Any]) -> None:
        spec["steps"] = spec["steps"][:1]

    def shards(spec: dict[str, Any]) -> None:
        spec["steps"][0]["datasetConvert"]["numShards"] = 7

    world = World(make(one))
    world.settle()
    world.succeed("convert-train")
    world.edit(make(one, shards))
    world.settle()
    assert world.step("convert-train").start_time == world.now
    assert world.experiment.status.start_time == START


def test_the_model_of_a_step_stays_where_a_later_one_fails(training: World) -> None:
    training.succeed("train", "prune")
    training.fail("retrain", 64)
    assert training.experiment.status.model_path == "/workspace/nuclei/train/model.tlt"


def one(make: Make) -> World:
    """Return an experiment with one step, which is starting."""
    world = World(make(lambda spec: spec.update(steps=spec["steps"][:1], activeDeadlineSeconds=60)))
    world.settle()
    return world


def test_start_of_a_step_is_not_active_time(make: Make) -> None:
    world = one(make)
    assert world.look().wake_at is None
    world.now += timedelta(hours=1)
    world.settle()
    assert world.live() == {"convert-train"}
    assert (world.experiment.status.active_since, world.experiment.status.active_seconds) == (None, 0)
    world.run("convert-train")
    assert world.experiment.status.active_since == world.now
    world.now += timedelta(seconds=20)
    world.change("convert-train", state=RunState.STARTING)
    world.settle()
    world.now += timedelta(hours=1)
    world.settle()
    assert (world.experiment.status.active_since, world.experiment.status.active_seconds) == (None, 20)


def test_running_step_requests_a_reconciliation_at_the_deadline_of_the_experiment(make: Make) -> None:
    """The write of the status that follows does not cause another reconciliation."""
    world = one(make)
    world.now += timedelta(seconds=30)
    world.change("convert-train", state=RunState.RUNNING)
    assert world.look().wake_at == world.now + timedelta(seconds=60)


def test_stop_of_a_step_that_ran_is_active_time_until_its_pods_have_ended(make: Make) -> None:
    world = one(make)
    world.run("convert-train")
    world.suspend(True)
    world.settle()
    world.now += timedelta(seconds=30)
    world.settle()
    assert world.experiment.status.active_since == START
    world.fail("convert-train", 143)
    assert (world.experiment.status.active_since, world.experiment.status.active_seconds) == (None, 30)


def test_stop_of_a_step_that_never_ran_is_not_active_time(make: Make) -> None:
    world = one(make)
    world.suspend(True)
    world.settle()
    world.now += timedelta(seconds=30)
    world.settle()
    world.fail("convert-train", 143)
    assert (world.experiment.status.active_since, world.experiment.status.active_seconds) == (None, 0)


def test_step_that_starts_is_the_current_one(make: Make) -> None:
    """The alert for steps that do not start reads the reason of the current step."""
    assert one(make).experiment.status.current_step == "convert-train"


@pytest.mark.parametrize(
    ("reasons", "cause"),
    [
        (("BucketNotFound", "BucketNotFound"), "BucketNotFound"),
        (("StorePermissionDenied", "BucketNotFound"), "StepFailed"),
        (("InvalidData", "InvalidData"), "StepFailed"),
    ],
)
def test_failure_of_the_whole_workspace_is_the_cause_of_the_condition(
    make: Make, reasons: tuple[str, str], cause: str
) -> None:
    world = World(make(lambda spec: spec.update(steps=spec["steps"][:2])))
    world.settle()
    for name, reason in zip(("convert-train", "convert-val"), reasons, strict=True):
        world.fail(name, 64, result=TaskResult(64, world.newest(name).fingerprint, reason=reason, message="why"))
    stalled, ready = (world.experiment.status.condition(kind) for kind in ("Stalled", "Ready"))
    assert stalled is not None
    assert ready is not None
    assert (stalled.reason, ready.reason) == (cause, "Failed")
