"""Retention of ended runs, of the finished experiment, and of its progress."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import Progress
from maskrcnn_operator.core.limits import deleted_at, is_still_to_be_deleted
from maskrcnn_operator.core.runs import RunKey, RunState

from .conftest import Make
from .world import START, World

ALL = (
    ("convert-train", "convert-val"),
    ("train",),
    ("evaluate", "prune"),
    ("retrain",),
    ("evaluate-pruned", "inference", "export"),
)


def reports(world: World, step: str, checkpoint: int | None) -> None:
    """Write a report to the status, as the report endpoint does."""
    progress = Progress(step=step, iteration=10, checkpoint_step=checkpoint)
    world.experiment = world.experiment.with_status(world.experiment.status.model_copy(update={"progress": progress}))


def test_the_experiment_is_deleted_when_its_time_is_over(make: Make) -> None:
    world = World(make(lambda spec: spec.update(ttlSecondsAfterFinished=60)))
    world.settle()
    for names in ALL:
        plan = world.look()
        assert not plan.delete_experiment
        world.succeed(*names)
    finished = world.now
    assert world.look().wake_at == finished + timedelta(seconds=60)
    world.now += timedelta(seconds=59)
    assert not world.look().delete_experiment
    world.now += timedelta(seconds=1)
    assert world.look().delete_experiment


def test_a_failed_experiment_is_deleted_too_but_neither_a_suspended_nor_an_invalid_one(make: Make) -> None:
    def ttl(spec: dict[str, object]) -> None:
        spec["ttlSecondsAfterFinished"] = 60

    world = World(make(ttl))
    world.settle()
    world.fail("convert-train", 64)
    world.succeed("convert-val")
    assert world.conditions()["Succeeded"] == "False"
    world.now += timedelta(seconds=60)
    assert world.look().delete_experiment
    world.suspend(True)
    world.settle()
    assert not world.look().delete_experiment
    invalid = World(make(ttl, lambda spec: spec["steps"][3].update(modelFrom="nobody")))
    invalid.settle()
    invalid.now += timedelta(days=1)
    assert not invalid.look().delete_experiment


def test_an_older_attempt_goes_when_the_next_starts(training: World) -> None:
    training.fail("train", 1)
    assert RunKey("train", 1) in training.runs
    training.now += timedelta(seconds=10)
    plan = training.look()
    assert [start.attempt for start in plan.start] == [2]
    assert plan.forget == (RunKey("train", 1),)


def test_the_last_run_goes_three_hours_after_its_end(training: World) -> None:
    ended = training.runs[RunKey("convert-train", 1)].ended
    assert ended is not None
    plan = training.look()
    assert plan.wake_at == ended + timedelta(hours=3)
    training.now = ended + timedelta(hours=3)
    assert training.look().forget == (RunKey("convert-train", 1),)


def test_run_that_is_being_deleted_is_not_deleted_again(training: World) -> None:
    training.change("convert-train", deleted=True)
    training.now += timedelta(hours=4)
    assert training.look().forget == (RunKey("convert-val", 1),)


def test_runs_of_a_removed_step_go_at_once(training: World, make: Make) -> None:
    training.edit(make(lambda spec: spec["steps"].pop(7)))
    training.runs[RunKey("inference", 1)] = replace(
        training.newest("convert-val"), step="inference", state=RunState.FAILED
    )
    assert training.look().forget == (RunKey("inference", 1),)


def test_a_reported_checkpoint_is_copied_before_the_progress_goes(training: World) -> None:
    reports(training, "train", 500)
    plan = training.look()
    assert not plan.drop_progress
    assert training.step("train").checkpoint_step == 500
    reports(training, "train", 700)
    training.change("train", state=RunState.FAILED, exit_code=1, ended=training.now)
    plan = training.look()
    assert plan.drop_progress
    assert plan.status.progress is None
    assert training.step("train").checkpoint_step == 700


def test_report_alone_causes_no_write(training: World) -> None:
    reports(training, "train", None)
    plan = training.look()
    assert (plan.write_status, plan.drop_progress) == (False, False)
    assert plan.status.progress is not None


def test_a_report_that_came_late_is_removed_and_changes_nothing(training: World) -> None:
    training.succeed("train")
    reports(training, "train", 999)
    plan = training.look()
    assert (plan.write_status, plan.drop_progress) == (False, True)
    assert training.step("train").checkpoint_step is None


def test_progress_of_an_older_attempt_does_not_apply_to_the_next(training: World, make: Make) -> None:
    """The step is edited, ends, and starts again within one reconciliation."""
    reports(training, "train", 500)
    training.edit(make(lambda spec: spec["experiment"].update(seed=7)))
    training.look()
    training.change("train", state=RunState.FAILED, exit_code=143, ended=START)
    plan = training.look()
    assert [start.attempt for start in plan.start] == [2]
    assert plan.drop_progress
    assert training.step("train").checkpoint_step is None
    training.settle()
    assert training.step("train").checkpoint_step is None


def test_deletion_that_is_due_requests_no_reconciliation_in_the_past(make: Make) -> None:
    world = World(make(lambda spec: spec.update(steps=spec["steps"][:1], ttlSecondsAfterFinished=60)))
    world.settle()
    world.succeed("convert-train")
    ended = world.now
    world.now += timedelta(seconds=61)
    plan = world.look()
    assert plan.delete_experiment
    assert plan.wake_at == ended + timedelta(hours=3)


def test_a_run_without_a_time_of_its_end_is_kept(training: World) -> None:
    training.change("convert-train", ended=None)
    assert training.look().forget == ()


def finished(make: Make) -> World:
    """Return an experiment that has just succeeded and is to be deleted after a minute."""
    world = World(make(lambda spec: spec.update(steps=spec["steps"][:1], ttlSecondsAfterFinished=60)))
    world.settle()
    world.succeed("convert-train")
    return world


def test_a_finished_experiment_is_deleted_only_once_its_time_is_over(make: Make) -> None:
    world = finished(make)
    assert not is_still_to_be_deleted(world.experiment, world.experiment, world.now + timedelta(seconds=59))
    assert is_still_to_be_deleted(world.experiment, world.experiment, world.now + timedelta(seconds=60))


@pytest.mark.parametrize("change", [{"uid": "another"}, {"generation": 2}])
def test_an_experiment_that_was_replaced_or_edited_since_is_not_deleted(make: Make, change: dict[str, Any]) -> None:
    world = finished(make)
    assert world.experiment.metadata.generation != 2
    metadata = world.experiment.metadata.model_copy(update=change)
    live = world.experiment.model_copy(update={"metadata": metadata})
    assert not is_still_to_be_deleted(world.experiment, live, world.now + timedelta(days=1))


@pytest.mark.parametrize("kept", [False, True])
def test_completion_time_alone_deletes_nothing(make: Make, kept: bool) -> None:
    """An unreadable edit leaves the time unchanged and sets Succeeded to Unknown."""
    world = finished(make)
    status = world.experiment.status
    found = [
        condition.model_copy(update={"status": "Unknown"})
        for condition in status.conditions
        if kept and condition.type == "Succeeded"
    ]
    assert deleted_at(world.experiment.spec, status) is not None
    assert deleted_at(world.experiment.spec, status.model_copy(update={"conditions": tuple(found)})) is None


def test_an_experiment_without_a_time_of_completion_is_not_deleted(make: Make) -> None:
    """Another writer may have removed it from the status."""
    world = finished(make)
    status = world.experiment.status.model_copy(update={"completion_time": None})
    assert deleted_at(world.experiment.spec, status) is None
