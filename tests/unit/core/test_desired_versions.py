"""Steps recorded by version 1 of the fingerprint, by version 2, and by both in one experiment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.status import ExperimentStatus, StepState
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.runs import RunState

from .world import World

AFTER_TRAIN = {"evaluate", "prune", "retrain", "evaluate-pruned", "inference", "export"}
ORDER = (("convert-train", "convert-val"), ("train",), ("evaluate", "prune"), ("retrain",))
LAST = ("evaluate-pruned", "inference", "export")


def on_images(spec: dict[str, Any]) -> None:
    spec["steps"][8]["export"]["calibration"] = {"imageDir": "/workspace/calibration"}


def shuffled(spec: dict[str, Any]) -> None:
    spec["experiment"]["dataConfig"]["shuffleBufferSize"] = 10


def another_seed_of_the_export(spec: dict[str, Any]) -> None:
    spec["steps"][8]["experiment"] = {"seed": 7}


def something_else(spec: dict[str, Any]) -> None:
    spec["maxRestarts"] = 9


def by_older_release(world: World) -> None:
    """Replace the recorded fingerprints with those of a release that has only version 1."""
    desired = resolve(world.experiment)
    status = world.experiment.status
    steps = tuple(
        step.model_copy(update={"fingerprint": desired.prints[step.name].by_version["v1"], "older_fingerprint": None})
        if step.fingerprint
        else step
        for step in status.steps
    )
    world.experiment = world.experiment.with_status(status.model_copy(update={"steps": steps}))
    for key, run in world.runs.items():
        old = desired.prints[key.step].by_version["v1"]
        world.runs[key] = replace(run, fingerprint=old, older_fingerprints=())


def versions(world: World) -> dict[str, str]:
    return {step.name: (step.fingerprint or "").rpartition("-")[2] for step in world.experiment.status.steps}


def finished(experiment: MaskRCNNExperiment) -> World:
    world = World(experiment)
    world.settle()
    for names in (*ORDER, LAST):
        world.succeed(*names)
    assert world.conditions()["Succeeded"] == "True"
    return world


@pytest.fixture
def upgraded(make: Any) -> World:
    """Return an experiment that an older release has finished."""
    world = finished(make())
    by_older_release(world)
    return world


def test_an_upgrade_in_the_middle_of_a_training_starts_and_stops_nothing(training: World) -> None:
    by_older_release(training)
    before = training.experiment.status
    plan = training.settle()
    assert (plan.start, plan.stop, plan.status) == ((), (), before)
    # after a suspension and a resume it continues with the fingerprint for which the directory is claimed
    training.suspend(True)
    training.settle()
    training.fail("train", 143)
    training.suspend(False)
    training.settle()
    assert training.live() == {"train"}
    assert training.newest("train").fingerprint == resolve(training.experiment).prints["train"].by_version["v1"]
    assert training.newest("train").older_fingerprints == ()


def test_after_a_lost_status_a_start_names_the_fingerprint_of_the_older_release(training: World) -> None:
    by_older_release(training)
    known = training.step("train").fingerprint
    training.experiment = training.experiment.with_status(ExperimentStatus())
    training.runs.clear()
    training.settle()
    training.succeed("convert-train", "convert-val")
    started = training.newest("train")
    assert started.older_fingerprints == (known,)
    assert started.fingerprint.endswith("-v2")


@pytest.mark.parametrize("change", [something_else, lambda spec: spec.update(image="other:1"), lambda spec: None])
def test_an_edit_of_another_field_runs_nothing_after_an_upgrade(upgraded: World, make: Any, change: Any) -> None:
    upgraded.settle()
    upgraded.edit(make(change))
    upgraded.settle()
    assert upgraded.live() == set()
    assert set(versions(upgraded).values()) == {"v1"}


def test_an_edit_of_the_shuffling_runs_what_version_1_covers(upgraded: World, make: Any) -> None:
    upgraded.edit(make(shuffled))
    upgraded.settle()
    assert upgraded.live() == {"train"}
    upgraded.succeed("train")
    assert versions(upgraded)["train"] == "v2"
    assert upgraded.live() == {"evaluate", "prune"}


def test_an_edit_of_the_shuffling_runs_nothing_of_version_2(make: Any) -> None:
    world = finished(make())
    assert set(versions(world).values()) == {"v2"}
    world.edit(make(shuffled))
    world.settle()
    assert world.live() == set()


def test_a_training_that_starts_after_the_upgrade_is_of_version_2(world: World) -> None:
    world.settle()
    world.succeed("convert-train", "convert-val")
    by_older_release(world)
    world.settle()
    world.fail("train", 1)
    status = world.experiment.status
    train = world.step("train").model_copy(update={"fingerprint": None, "next_attempt_time": None})
    steps = tuple(train if step.name == "train" else step for step in status.steps)
    world.experiment = world.experiment.with_status(status.model_copy(update={"steps": steps}))
    world.settle()
    assert (versions(world)["convert-train"], versions(world)["train"]) == ("v1", "v2")


def test_a_step_on_a_training_of_version_1_is_run_again_with_it(training: World, make: Any) -> None:
    """Version 2 does not cover the shuffling: the evaluation of a model that no longer exists would stay."""
    by_older_release(training)
    training.succeed("train")
    training.succeed("evaluate")
    assert versions(training)["evaluate"] == "v1"
    training.edit(make(shuffled))
    training.settle()
    training.fail("prune", 143)
    assert training.live() == {"train"}
    training.succeed("train")
    assert "evaluate" in training.live()
    assert versions(training)["evaluate"] == "v2"


def test_a_step_keeps_its_older_fingerprint_for_all_of_its_attempts(training: World, make: Any) -> None:
    """The checkpoints from which it resumes have that fingerprint."""
    given = training.newest("train")
    training.edit(make(shuffled))
    training.settle()
    training.fail("train", 75)
    training.now += timedelta(minutes=1)
    training.settle()
    again = training.newest("train")
    assert again.attempt == 2
    assert (again.fingerprint, again.older_fingerprints) == (given.fingerprint, given.older_fingerprints)


def test_a_step_on_results_that_older_releases_do_not_find_has_no_older_fingerprint(training: World, make: Any) -> None:
    """After a rollback the training runs again, and its evaluation too."""
    training.succeed("train")
    training.edit(make(shuffled))
    training.settle()
    training.succeed("evaluate")
    assert training.step("evaluate").older_fingerprint is not None
    training.edit(make(shuffled, lambda spec: spec["steps"][3].update(revision="again")))
    training.settle()
    assert training.newest("evaluate").older_fingerprints == ()
    assert training.newest("convert-train").older_fingerprints != ()


def test_a_calibration_on_images_of_version_1_stays_until_an_edit(make: Any) -> None:
    world = finished(make(on_images))
    by_older_release(world)
    world.settle()
    assert world.live() == set()
    assert versions(world)["export"] == "v1"
    world.edit(make(on_images, something_else))
    world.settle()
    assert world.live() == {"export"}
    assert versions(world)["export"] == "v2"
    # from then on it runs again only if its images change
    world.succeed("export")
    world.edit(make(on_images))
    world.settle()
    assert world.live() == set()
    world.edit(make(on_images, another_seed_of_the_export))
    world.settle()
    assert world.live() == {"export"}


def test_a_calibration_on_images_that_an_edit_interrupts_is_not_taken(make: Any) -> None:
    """The result, observed after the edit, may be that of the former seed."""
    world = World(make(on_images))
    world.settle()
    for names in ORDER:
        world.succeed(*names)
    by_older_release(world)
    world.run("export")
    old = world.newest("export").fingerprint
    world.edit(make(on_images, another_seed_of_the_export))
    world.settle()
    assert world.step("export").reason == "SpecChanged"
    world.succeed("export")
    assert world.step("export").attempt == 2
    started = world.newest("export")
    assert old not in (started.fingerprint, *started.older_fingerprints)


def test_a_calibration_on_images_is_run_again_with_a_training_of_version_1(make: Any) -> None:
    world = finished(make(on_images))
    by_older_release(world)
    world.edit(make(on_images, something_else))
    world.settle()
    world.succeed("export")
    world.edit(make(on_images, shuffled))
    world.settle()
    assert world.step("export").state is StepState.PENDING
    assert world.live() == {"train"}


def test_a_result_that_an_image_of_an_older_release_names_counts(training: World) -> None:
    (older,) = training.newest("train").older_fingerprints
    training.succeed("train", fingerprint=older)
    assert training.step("train").state is StepState.SUCCEEDED


def test_a_result_of_another_fingerprint_does_not_count(training: World) -> None:
    training.succeed("train", fingerprint="aaaaaaaa111111111111111111111111-v1")
    assert training.step("train").reason == "ResultUnreadable"


def test_a_failed_attempt_keeps_its_version(training: World) -> None:
    by_older_release(training)
    training.fail("train", 75)
    training.now += timedelta(minutes=1)
    training.settle()
    assert versions(training)["train"] == "v1"
    training.change("train", state=RunState.RUNNING)
    training.settle()
    assert training.step("train").attempt == 2
