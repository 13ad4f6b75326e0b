"""Image of the next attempt of a step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.runs import RunState

from .conftest import Make
from .world import World

NEW_DEFAULT = Settings(default_image="trainer:9")


def mine(spec: dict[str, Any]) -> None:
    spec["image"] = "mine:1"


def retried(world: World) -> str | None:
    """Let the training fail; return the image of its next attempt."""
    world.fail("train", 75)
    world.now += timedelta(minutes=5)
    world.settle()
    assert world.live() == {"train"}
    assert world.newest("train").image == world.step("train").image
    return world.newest("train").image


@pytest.fixture
def own(training: World, make: Make) -> World:
    """Return the experiment with a training that runs with the user's own image."""
    training.edit(make(mine))
    assert retried(training) == "mine:1"
    training.change("train", state=RunState.RUNNING)
    training.settle()
    return training


def test_retries_keep_the_image_that_the_chain_began_with(training: World) -> None:
    training.settings = NEW_DEFAULT
    assert [retried(training) for _ in range(3)] == ["trainer:1"] * 3


@pytest.mark.parametrize("code", [143, None])
def test_retry_after_a_disruption_or_a_vanished_job_keeps_the_image(training: World, code: int | None) -> None:
    training.settings = NEW_DEFAULT
    if code is None:
        del training.runs[training.newest("train").key]
        training.settle()
    else:
        training.fail("train", code)
    training.now += timedelta(minutes=5)
    training.settle()
    assert training.newest("train").image == "trainer:1"


def test_image_that_is_edited_while_the_step_runs_counts_from_the_next_attempt_on(training: World, make: Make) -> None:
    training.edit(make(mine))
    training.settle()
    assert (training.step("train").image, training.newest("train").image) == ("trainer:1", "trainer:1")
    assert retried(training) == "mine:1"


def test_image_that_is_removed_while_the_step_runs_is_not_started_again(own: World, make: Make) -> None:
    own.edit(make())
    own.settle()
    assert own.step("train").image == "mine:1"
    assert retried(own) == "trainer:1"


def test_image_that_is_removed_while_the_step_waits_is_not_started_again(own: World, make: Make) -> None:
    own.fail("train", 75)
    own.edit(make())
    own.settle()
    own.now += timedelta(minutes=5)
    own.settle()
    assert own.newest("train").image == "trainer:1"


def test_image_that_is_removed_after_the_failed_job_is_gone_is_not_started_again(own: World, make: Make) -> None:
    own.fail("train", 75)
    del own.runs[own.newest("train").key]
    own.edit(make())
    own.settle()
    own.now += timedelta(minutes=5)
    own.settle()
    assert own.newest("train").image == "trainer:1"


def test_image_that_is_removed_before_the_step_ran_is_replaced(world: World, make: Make) -> None:
    world.edit(make(mine))
    world.settle()
    world.edit(make())
    world.settle()
    for name in ("convert-train", "convert-val"):
        del world.runs[world.newest(name).key]
    world.settle()
    assert world.newest("convert-train").image == "trainer:1"


def test_retry_of_an_edited_chain_takes_the_new_default(training: World, make: Make) -> None:
    training.settings = NEW_DEFAULT
    training.edit(make(lambda spec: spec.update(podOverrides={"priorityClassName": "high"})))
    training.settle()
    assert retried(training) == "trainer:9"


def test_edit_outside_the_template_keeps_the_image(training: World, make: Make) -> None:
    training.settings = NEW_DEFAULT
    training.edit(make(lambda spec: spec.update(maxRestarts=9)))
    training.settle()
    assert retried(training) == "trainer:1"


def test_resume_after_a_failure_takes_the_new_default(training: World) -> None:
    training.fail("train", 64)
    assert training.step("train").image == "trainer:1"
    training.settings = NEW_DEFAULT
    training.suspend(True)
    training.settle()
    training.suspend(False)
    training.settle()
    assert training.newest("train").image == "trainer:9"


def test_resume_of_a_suspended_step_takes_the_new_default(training: World) -> None:
    training.settings = NEW_DEFAULT
    training.suspend(True)
    training.settle()
    training.fail("train", 143)
    assert training.step("train").state is StepState.PENDING
    training.suspend(False)
    training.settle()
    assert training.newest("train").image == "trainer:9"


def test_resume_of_a_step_that_backed_off_takes_the_new_default(training: World) -> None:
    training.fail("train", 75)
    training.settings = NEW_DEFAULT
    training.suspend(True)
    training.settle()
    training.suspend(False)
    training.settle()
    training.now += timedelta(minutes=5)
    training.settle()
    assert training.newest("train").image == "trainer:9"


def test_retry_of_a_job_of_an_earlier_release_keeps_the_image(training: World) -> None:
    training.change("train", template="")
    training.settings = NEW_DEFAULT
    assert retried(training) == "trainer:1"
