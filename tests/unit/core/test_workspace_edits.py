"""Edits of the workspace: another place, and another owner that is replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from maskrcnn_operator.api.base import EXPERIMENT_NAME_LENGTH, STEP_NAME_LENGTH
from maskrcnn_operator.api.status import Artifact, StepState
from maskrcnn_operator.cluster.events import NOTE_BYTES
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import RunState
from maskrcnn_trainer.shared.object_url import LONGEST_WORKSPACE_URL

from .conftest import BUCKET, Change, Make, in_a_bucket
from .world import SETTINGS, World

OWNED = replace(SETTINGS, owner_id="uid-of-the-namespace")


def on_claim(name: str, sub_path: str = "") -> Change:
    workspace = {"persistentVolumeClaim": {"claimName": name}, "subPath": sub_path}
    return lambda spec: spec.update(workspace=workspace)


def taking_over(state: str | None, **fields: Any) -> Change:
    def change(spec: dict[str, Any]) -> None:
        storage = {"url": BUCKET} if state is None else {"url": BUCKET, "takeOverFrom": state}
        spec.update(workspace={"objectStorage": storage}, **fields)

    return change


def after_conversions(make: Make, change: Change) -> World:
    """Return an experiment with converted data whose training is suspended."""
    world = World(make(change), OWNED)
    world.settle()
    world.succeed("convert-train", "convert-val")
    world.suspend(True)
    world.settle()
    world.fail("train", 143)
    assert world.conditions()["Suspended"] == "True"
    return world


CHANGES = {
    "claim": (on_claim("one"), on_claim("two"), "two"),
    "subPath": (on_claim("one"), on_claim("one", "lab"), "one/lab"),
    "url": (in_a_bucket, lambda spec: spec.update(workspace={"objectStorage": {"url": "s3://new"}}), "s3://new"),
    "to a bucket": (on_claim("one"), in_a_bucket, BUCKET),
    "to a claim": (in_a_bucket, on_claim("one"), "one"),
}


@pytest.mark.parametrize(("before", "after", "place"), CHANGES.values(), ids=CHANGES)
def test_every_step_runs_again_in_another_workspace(make: Make, before: Change, after: Change, place: str) -> None:
    world = after_conversions(make, before)
    world.edit(make(after))
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}
    step = world.step("convert-train")
    assert (step.attempt, world.experiment.status.workspace) == (2, place)


def test_step_whose_result_the_new_workspace_has_is_up_to_date(make: Make) -> None:
    world = after_conversions(make, on_claim("one"))
    world.edit(make(on_claim("two")))
    world.settle()
    run = world.newest("convert-train")
    found = TaskResult(0, run.fingerprint, up_to_date=True)
    world.change("convert-train", state=RunState.SUCCEEDED, exit_code=0, ended=world.now, result=found)
    world.settle()
    assert world.step("convert-train").reason == "UpToDate"


def test_checkpoint_in_the_old_workspace_does_not_count_any_more(make: Make) -> None:
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    world.succeed("convert-train", "convert-val")
    world.change("train", checkpoint_step=500)
    world.suspend(True)
    world.settle()
    world.fail("train", 143)
    assert world.step("train").checkpoint_step == 500
    world.edit(make(on_claim("two")))
    world.settle()
    assert world.step("train").checkpoint_step is None


def test_results_are_dropped_while_the_experiment_is_suspended(make: Make) -> None:
    world = after_conversions(make, on_claim("one"))
    world.edit(make(on_claim("two")).suspended(True))
    world.settle()
    assert world.live() == set()
    assert world.step("convert-train").state is StepState.PENDING
    assert world.conditions()["Suspended"] == "True"


@pytest.mark.parametrize(
    "after", [taking_over("other/3"), lambda spec: spec["workspace"]["objectStorage"].update(scratch={})]
)
def test_take_over_and_scratch_are_no_other_workspace(make: Make, after: Change) -> None:
    world = after_conversions(make, in_a_bucket)
    world.edit(make(in_a_bucket, after))
    world.settle()
    assert world.step("convert-train").state is StepState.SUCCEEDED


def test_failed_step_runs_again_in_another_workspace(make: Make) -> None:
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    world.fail("convert-train", 64)
    world.fail("convert-val", 64)
    world.edit(make(on_claim("two")))
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def as_an_older_release_leaves_it(world: World) -> None:
    world.experiment = world.experiment.with_status(world.experiment.status.model_copy(update={"workspace": None}))


def test_workspace_of_an_older_status_is_recorded_while_the_experiment_is_suspended(make: Make) -> None:
    world = after_conversions(make, on_claim("one"))
    as_an_older_release_leaves_it(world)
    assert world.look().write_status
    assert world.experiment.status.workspace == "one"
    world.edit(make(on_claim("two")))
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_workspace_of_an_older_status_is_recorded_although_the_spec_is_invalid(make: Make) -> None:
    absent: Change = lambda spec: spec["steps"][3].update(modelFrom="absent")  # noqa: E731 - a change is a function
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    world.succeed("convert-train", "convert-val")
    world.edit(make(on_claim("one"), absent).suspended(True))
    world.settle()
    world.fail("train", 143)
    assert world.conditions()["Suspended"] == "True"
    as_an_older_release_leaves_it(world)
    world.settle()
    assert world.experiment.status.workspace == "one"


def test_workspace_of_an_older_status_costs_no_write_while_steps_run(make: Make) -> None:
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    as_an_older_release_leaves_it(world)
    assert not world.look().write_status


def test_workspace_of_an_older_status_costs_no_write_while_an_invalid_spec_has_a_running_step(
    make: Make,
) -> None:
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    world.edit(make(on_claim("one"), lambda spec: spec["steps"][3].update(modelFrom="absent")))
    world.settle()
    as_an_older_release_leaves_it(world)
    assert not world.look().write_status


def test_invalid_edit_of_the_workspace_takes_effect_once_the_spec_is_valid(make: Make) -> None:
    world = after_conversions(make, on_claim("one"))
    world.edit(make(on_claim("two"), lambda spec: spec["steps"][3].update(modelFrom="absent")))
    world.settle()
    assert (world.conditions()["Stalled"], world.experiment.status.workspace) == ("True", "one")
    world.edit(make(on_claim("two")))
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}


def test_nothing_starts_in_the_new_workspace_before_the_attempts_in_the_old_one_have_ended(make: Make) -> None:
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    world.run("convert-train", "convert-val")
    world.edit(make(on_claim("two")))
    world.settle()
    assert world.step("convert-train").reason == "SpecChanged"
    world.fail("convert-train", 143)
    assert world.live() == {"convert-val"}
    step = world.step("convert-train")
    assert (step.reason, step.message) == ("SpecChanged", "waits for the end of convert-val in the workspace one")
    world.fail("convert-val", 143)
    assert world.live() == {"convert-train", "convert-val"}
    assert world.experiment.status.workspace == "two"


def test_result_of_an_attempt_that_ends_in_the_old_workspace_does_not_count(make: Make) -> None:
    world = World(make(on_claim("one")), OWNED)
    world.settle()
    world.run("convert-train", "convert-val")
    world.edit(make(on_claim("two")))
    world.settle()
    for name in ("convert-train", "convert-val"):
        found = TaskResult(0, world.newest(name).fingerprint)
        world.change(name, state=RunState.SUCCEEDED, exit_code=0, ended=world.now, result=found)
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}
    assert world.step("convert-train").attempt == 2


def refused(make: Make, reason: str = "AnothersOwner") -> World:
    world = World(make(in_a_bucket), OWNED)
    world.settle()
    run = world.newest("convert-train")
    found = TaskResult(64, run.fingerprint, reason=reason, message="give other/3")
    world.fail("convert-train", 64, result=found)
    assert (world.step("convert-train").state, world.step("convert-train").reason) == (StepState.FAILED, reason)
    return world


@pytest.mark.parametrize("reason", ["AnothersOwner", "Superseded"])
def test_take_over_gives_refused_steps_a_new_try(make: Make, reason: str) -> None:
    world = refused(make, reason)
    world.edit(make(taking_over("other/3")))
    world.settle()
    assert (world.step("convert-train").attempt, "convert-train" in world.live()) == (2, True)


def test_removal_of_a_take_over_gives_refused_steps_a_new_try(make: Make) -> None:
    world = World(make(taking_over("wrong/9")), OWNED)
    world.settle()
    found = TaskResult(64, world.newest("convert-train").fingerprint, reason="AnothersOwner")
    world.fail("convert-train", 64, result=found)
    world.edit(make(taking_over(None)))
    world.settle()
    assert (world.step("convert-train").attempt, "convert-train" in world.live()) == (2, True)


def waiting_after(make: Make, reason: str) -> World:
    """Return an experiment with a step that was refused with exit code 75, and waits to be retried."""
    world = World(make(in_a_bucket), OWNED)
    world.settle()
    world.fail("convert-train", 75, result=TaskResult(75, world.newest("convert-train").fingerprint, reason=reason))
    assert (world.step("convert-train").reason, world.step("convert-train").attempt) == ("BackOff", 1)
    return world


def test_take_over_ends_the_wait_of_a_superseded_step(make: Make) -> None:
    world = waiting_after(make, "Superseded")
    world.edit(make(taking_over("other/3")))
    world.settle()
    step = world.step("convert-train")
    assert (step.attempt, step.restarts, "convert-train" in world.live()) == (2, 1, True)


@pytest.mark.parametrize(
    ("reason", "change"),
    [("StoreUnavailable", taking_over("other/3")), ("Superseded", taking_over(None, image="trainer:2"))],
    ids=["another reason", "another edit"],
)
def test_other_waits_do_not_end_at_an_edit(make: Make, reason: str, change: Change) -> None:
    world = waiting_after(make, reason)
    world.edit(make(change))
    world.settle()
    assert world.step("convert-train").attempt == 1


def test_new_try_that_is_refused_is_the_last(make: Make) -> None:
    world = refused(make)
    world.edit(make(taking_over("other/2")))
    world.settle()
    found = TaskResult(64, world.newest("convert-train").fingerprint, reason="AnothersOwner")
    world.fail("convert-train", 64, result=found)
    world.settle()
    assert (world.step("convert-train").state, world.step("convert-train").attempt) == (StepState.FAILED, 2)


def test_take_over_also_counts_once_the_job_of_the_refused_attempt_is_gone(make: Make) -> None:
    world = refused(make)
    del world.runs[world.newest("convert-train").key]
    world.settle()
    world.edit(make(taking_over("other/3")))
    world.settle()
    assert world.step("convert-train").attempt == 2


def test_other_edit_gives_refused_steps_no_new_try(make: Make) -> None:
    world = refused(make)
    world.edit(make(taking_over(None, image="trainer:2")))
    world.settle()
    assert world.step("convert-train").state is StepState.FAILED


def test_other_edit_gives_steps_that_were_refused_with_a_take_over_no_new_try(make: Make) -> None:
    world = World(make(taking_over("other/2")), OWNED)
    world.settle()
    found = TaskResult(64, world.newest("convert-train").fingerprint, reason="AnothersOwner")
    world.fail("convert-train", 64, result=found)
    world.edit(make(taking_over("other/2", image="trainer:2")))
    world.settle()
    assert world.step("convert-train").state is StepState.FAILED


def test_take_over_gives_steps_that_failed_for_another_reason_no_new_try(make: Make) -> None:
    world = refused(make, "InvalidData")
    world.edit(make(taking_over("other/3")))
    world.settle()
    assert world.step("convert-train").state is StepState.FAILED


def test_status_shows_urls_and_the_next_step_gets_the_path(make: Make) -> None:
    world = World(make(in_a_bucket), OWNED)
    world.settle()
    world.succeed("convert-train", "convert-val")
    path, url = "/workspace/nuclei/train/model.tlt", f"{BUCKET}/nuclei/train/model.tlt"
    made = {"model": Artifact(path=path, bytes=1)}
    found = TaskResult(
        0, world.newest("train").fingerprint, model_path=path, report_path=f"{path}.html", artifacts=made
    )
    world.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=world.now, result=found)
    starts = {start.step: start for start in world.look().start}
    step = world.step("train")
    assert (step.model_path, step.report_path, step.artifacts["model"].path) == (url, f"{url}.html", url)
    assert world.experiment.status.model_path == url
    assert starts["evaluate"].model_path == path


def test_success_is_an_event_with_the_url_of_the_results(make: Make) -> None:
    world = World(make(in_a_bucket), OWNED)
    world.settle()
    found = TaskResult(0, world.newest("convert-train").fingerprint)
    world.change("convert-train", state=RunState.SUCCEEDED, exit_code=0, ended=world.now, result=found)
    messages = [event.message for event in world.look().events if event.reason == "StepSucceeded"]
    assert messages == [f"step convert-train: Completed; results in {BUCKET}/nuclei/convert-train"]


def test_event_has_the_whole_url_of_the_longest_workspace(make: Make) -> None:
    url = f"s3://results/{'k' * (LONGEST_WORKSPACE_URL - len('s3://results/'))}"
    manifest = make(lambda spec: spec.update(workspace={"objectStorage": {"url": url}}))
    metadata = manifest.metadata.model_copy(update={"name": "x" * EXPERIMENT_NAME_LENGTH})
    world = World(manifest.model_copy(update={"metadata": metadata}), OWNED)
    world.settle()
    found = TaskResult(0, world.newest("convert-train").fingerprint)
    world.change("convert-train", state=RunState.SUCCEEDED, exit_code=0, ended=world.now, result=found)
    [message] = [event.message for event in world.look().events if event.reason == "StepSucceeded"]
    longest = "x" * (STEP_NAME_LENGTH - len("convert-train"))
    assert len(message + 2 * longest) <= NOTE_BYTES
