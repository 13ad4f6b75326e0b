"""Conditions of an experiment, within the limits of the API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.accepted import refused

from maskrcnn_operator.api.problems import ManifestProblem
from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.conditions import conditions
from maskrcnn_operator.core.summary import assess, invalid

from .world import World

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("character", ["x", "ü", "\U0001f600", "\udce9"])
def test_a_message_is_cut_at_the_characters_that_the_definition_allows(character: str) -> None:
    told = conditions(invalid((ManifestProblem("", character * 40_000),)), (), 1, NOW)
    assert {len(condition.message) for condition in told} == {32_768}
    assert list(refused({"conditions": [condition.to_json() for condition in told]})) == []


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ((StepState.STARTING, StepState.PENDING), "Starting"),
        ((StepState.STARTING, StepState.RUNNING), "Running"),
        ((StepState.STARTING, StepState.STOPPING), "Stopping"),
        ((StepState.QUEUED, StepState.STARTING), "Starting"),
        ((StepState.STOPPING, StepState.RUNNING), "Running"),
        ((StepState.QUEUED, StepState.STOPPING), "Stopping"),
        ((StepState.PENDING, StepState.QUEUED), "Queued"),
        ((StepState.SUCCEEDED, StepState.PENDING), "Pending"),
    ],
)
def test_the_reason_is_that_of_the_step_that_is_furthest(states: tuple[StepState, ...], reason: str) -> None:
    steps = tuple(StepStatus(name=str(number), state=state) for number, state in enumerate(states))
    assert assess(steps, suspend=False).reason == reason


def test_an_experiment_fails_only_after_the_last_back_off(world: World) -> None:
    world.settle()
    world.fail("convert-val", 64, message="no image")
    world.fail("convert-train", 75, message="try again")
    assert world.conditions() == {"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}
    ready = world.experiment.status.condition("Ready")
    assert ready is not None
    assert (ready.reason, ready.message) == (
        "Waiting",
        "step convert-val failed: InvalidInput: no image; step convert-train: BackOff: TryAgain: try again",
    )
    world.now += timedelta(seconds=10)
    world.settle()
    world.succeed("convert-train")
    assert world.conditions() == {"Stalled": "True", "Succeeded": "False", "Ready": "False"}
    stalled = world.experiment.status.condition("Stalled")
    assert stalled is not None
    assert stalled.reason == "StepFailed"


def test_failed_experiment_names_the_reason_and_the_message_of_each_failed_step() -> None:
    steps = (
        StepStatus(name="one", state=StepState.FAILED, reason="AnothersOwner", message="give other/3"),
        StepStatus(name="two", state=StepState.FAILED, reason="Error"),
    )
    assert assess(steps, suspend=False).message == "step one: AnothersOwner: give other/3; step two: Error"


def test_time_of_a_condition_whose_status_changes_is_new(world: World) -> None:
    world.settle()
    world.now += timedelta(minutes=1)
    world.suspend(True)
    world.settle()
    world.fail("convert-train", 143)
    world.fail("convert-val", 143)
    ready = world.experiment.status.condition("Ready")
    assert ready is not None
    assert (ready.status, ready.last_transition_time) == ("True", world.now)


def test_suspended_invalid_experiment_has_both_reasons() -> None:
    told = conditions(invalid((ManifestProblem("spec", "is wrong"),), suspended=True), (), 1, NOW)
    reasons = {condition.type: condition.reason for condition in told}
    assert (reasons["Suspended"], reasons["Stalled"], reasons["Ready"]) == ("Suspended", "InvalidSpec", "InvalidSpec")
