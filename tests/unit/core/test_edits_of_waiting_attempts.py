"""Replacement of attempts that never ran when the spec of their Job changes; attempts that have run continue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from maskrcnn_operator.api.status import ExperimentStatus, StepState
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.runs import RunKey, RunState

from .conftest import Make
from .world import World

QUEUEING = Settings(default_image="trainer:1", queueing=True)


def image(spec: dict[str, Any]) -> None:
    spec["image"] = "trainer:2"


def gone(world: World, name: str) -> None:
    """Remove a Job and its pods, which never ran."""
    del world.runs[world.newest(name).key]
    world.settle()


@pytest.fixture
def starting(world: World) -> World:
    """Return the experiment with succeeded conversions and a training that waits for its pods."""
    world.settle()
    world.succeed("convert-train", "convert-val")
    assert world.step("train").state is StepState.STARTING
    return world


@pytest.mark.parametrize(
    "change",
    [
        {"image": "trainer:2"},
        {"podOverrides": {"nodeSelector": {"gpu": "a100"}}},
        {"podOverrides": {"tolerations": [{"key": "gpu", "operator": "Exists"}]}},
    ],
)
def test_attempt_that_never_ran_is_replaced_by_one_of_the_new_spec(
    starting: World, make: Make, change: dict[str, Any]
) -> None:
    starting.edit(make(lambda spec: spec.update(change)))
    plan = starting.look()
    assert (plan.stop, plan.start) == ((RunKey("train", 1),), ())
    step = starting.step("train")
    assert (step.state, step.reason) == (StepState.STOPPING, "TemplateChanged")
    assert "attempt 1 never ran and is replaced" in step.message
    gone(starting, "train")
    step = starting.step("train")
    assert (step.state, step.attempt) == (StepState.STARTING, 2)
    assert starting.live() == {"train"}


def test_correction_of_resources_replaces_that_step_alone(world: World, make: Make) -> None:
    world.settle()
    world.edit(make(lambda spec: spec["steps"][0].update(resources={"requests": {"cpu": "2"}})))
    assert world.look().stop == (RunKey("convert-train", 1),)
    assert world.step("convert-val").state is StepState.STARTING


def test_queued_attempt_is_replaced(make: Make) -> None:
    world = World(make(lambda spec: spec.update(queueName="gpus")), QUEUEING)
    world.settle()
    for name in ("convert-train", "convert-val"):
        world.change(name, state=RunState.QUEUED)
    world.settle()
    world.edit(make(lambda spec: spec.update(queueName="gpus", image="trainer:2")))
    assert set(world.look().stop) == {RunKey("convert-train", 1), RunKey("convert-val", 1)}


def test_replacement_is_neither_counted_nor_delayed(starting: World, make: Make) -> None:
    for tag in range(30):
        starting.edit(make(lambda spec, tag=tag: spec.update(image=f"trainer:{tag}")))
        starting.settle()
        gone(starting, "train")
        assert starting.live() == {"train"}
    step = starting.step("train")
    assert (step.attempt, step.restarts, step.disruptions, step.next_attempt_time) == (31, 0, 0, None)


def test_replacement_causes_one_event_that_is_not_a_warning(starting: World, make: Make) -> None:
    starting.edit(make(image))
    events = [event for event in starting.look().events if event.reason == "TemplateChanged"]
    assert [(event.type, event.message[:40]) for event in events] == [
        ("Normal", "step train: attempt 1 never ran and is r")
    ]
    starting.settle()
    gone(starting, "train")
    assert starting.events.count("TemplateChanged") == 1
    assert "StepRestarting" not in starting.events


def test_running_attempt_continues_after_an_edit_of_its_template(training: World, make: Make) -> None:
    training.edit(make(image))
    assert training.look().stop == ()
    training.settle()
    assert (training.step("train").state, training.step("train").attempt) == (StepState.RUNNING, 1)


def test_edit_of_fields_outside_the_template_replaces_nothing(starting: World, make: Make) -> None:
    starting.edit(make(lambda spec: spec.update(maxRestarts=9, activeDeadlineSeconds=9000)))
    assert starting.look().stop == ()
    starting.settle()
    assert (starting.step("train").state, starting.step("train").attempt) == (StepState.STARTING, 1)


def test_another_default_of_the_operator_replaces_nothing(starting: World) -> None:
    starting.settings = Settings(default_image="trainer:9")
    assert starting.look().stop == ()
    starting.settle()
    assert (starting.step("train").state, starting.step("train").attempt) == (StepState.STARTING, 1)


def test_job_of_an_earlier_release_is_not_replaced(starting: World, make: Make) -> None:
    starting.change("train", template="")
    starting.edit(make(image))
    assert starting.look().stop == ()
    starting.settle()
    assert (starting.step("train").state, starting.step("train").attempt) == (StepState.STARTING, 1)


def test_reverted_edit_starts_an_attempt_of_the_old_spec(starting: World, make: Make) -> None:
    starting.edit(make(image))
    starting.settle()
    starting.edit(make())
    starting.settle()
    assert starting.step("train").reason == "TemplateChanged"
    gone(starting, "train")
    assert (starting.step("train").attempt, starting.step("train").image) == (2, "trainer:1")


def test_attempt_that_fails_while_it_is_replaced_does_not_count(starting: World, make: Make) -> None:
    """The pod of the attempt started at the same moment."""
    starting.edit(make(image))
    starting.settle()
    starting.fail("train", 143)
    step = starting.step("train")
    assert (step.attempt, step.restarts, step.disruptions) == (2, 0, 0)


def test_attempt_that_succeeds_while_it_is_replaced_keeps_its_result(starting: World, make: Make) -> None:
    starting.edit(make(image))
    starting.settle()
    starting.succeed("train")
    assert starting.step("train").state is StepState.SUCCEEDED


def test_attempt_with_an_old_claim_is_replaced_although_the_status_does_not_have_it(world: World, make: Make) -> None:
    """A claim may be corrected until the status has a first attempt, whose Job may already exist."""
    before = world.experiment.status
    plan = world.look()
    assert {start.step for start in plan.start} == {"convert-train", "convert-val"}
    world.experiment = world.experiment.with_status(before)
    claim = {"persistentVolumeClaim": {"claimName": "the-right-one"}}
    world.edit(make(lambda spec: spec.update(workspace=claim)))
    assert set(world.look().stop) == {RunKey("convert-train", 1), RunKey("convert-val", 1)}
    assert world.step("convert-train").reason == "TemplateChanged"


def test_suspension_of_a_step_that_is_being_replaced_starts_nothing(starting: World, make: Make) -> None:
    starting.edit(make(image).suspended(True))
    starting.settle()
    gone(starting, "train")
    assert starting.live() == set()
    assert starting.conditions()["Suspended"] == "True"
    starting.suspend(False)
    starting.settle()
    assert (starting.step("train").attempt, starting.newest("train").image) == (2, "trainer:2")


def test_invalid_edit_replaces_nothing(starting: World, make: Make) -> None:
    def broken(spec: dict[str, Any]) -> None:
        image(spec)
        spec["steps"][3]["modelFrom"] = "nobody"

    starting.edit(make(broken))
    assert starting.look().stop == ()
    starting.settle()
    assert (starting.step("train").state, starting.step("train").attempt) == (StepState.STARTING, 1)


def test_adopted_attempt_of_the_current_template_is_kept(starting: World) -> None:
    starting.experiment = starting.experiment.with_status(ExperimentStatus())
    plan = reconcile(starting.experiment, list(starting.runs.values()), starting.now, starting.settings)
    assert plan.stop == ()
    other = replace(starting.newest("train"), template="another-v1")
    plan = reconcile(starting.experiment, [other], starting.now, starting.settings)
    assert plan.stop == (other.key,)
