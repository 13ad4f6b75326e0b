"""Steps whose newest checkpoint waits for object storage: when it shows, what it states, and how it ends."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from maskrcnn_operator.api.status import Progress, StepState, UnpublishedStep
from maskrcnn_operator.core.plan import Plan
from maskrcnn_operator.core.runs import RunKey, RunState

from .world import World

MINUTE = timedelta(minutes=1)
MESSAGE = (
    "checkpoints have waited since 2026-11-22T12:00:10Z to be published to object storage; another attempt would now "
)


def report(world: World, since: datetime | None, *, checkpoint: int | None = None, step: str = "train") -> None:
    """Write that a checkpoint of a step waits, next to the progress of the current step."""
    attempt, current = world.step(step).attempt, world.experiment.status.current_step or step
    wait = (
        None if since is None else UnpublishedStep(step=step, attempt=attempt, since=since, checkpoint_step=checkpoint)
    )
    progress = Progress(step=current, iteration=500, unpublished=() if wait is None else (wait,))
    world.experiment = world.experiment.with_status(world.experiment.status.model_copy(update={"progress": progress}))


def look_after(world: World, wait: timedelta) -> Plan:
    """Reconcile ``wait`` after now, with nothing new but the time."""
    world.now += wait
    return world.look()


def test_step_shows_a_checkpoint_that_has_waited_ten_minutes(training: World) -> None:
    report(training, training.now)
    look_after(training, 10 * MINUTE)
    step = training.step("train")
    assert (step.state, step.reason) == (StepState.RUNNING, "PublishDelayed")


@pytest.fixture
def converting(world: World) -> World:
    """Return the experiment with two conversions that run side by side, of which the first is the current step."""
    world.settle()
    for step in ("convert-train", "convert-val"):
        world.change(step, state=RunState.RUNNING, ran=world.now)
    world.settle()
    assert world.experiment.status.current_step == "convert-train"
    return world


def test_step_that_is_not_the_current_one_shows_its_wait(converting: World) -> None:
    report(converting, converting.now, step="convert-val")
    plan = look_after(converting, 10 * MINUTE)
    assert converting.step("convert-val").reason == "PublishDelayed"
    assert converting.step("convert-train").reason == "Converting"
    assert [event.reason for event in plan.events] == ["PublishDelayed"]


def test_message_names_the_published_checkpoint_of_a_step_that_is_not_the_current_one(converting: World) -> None:
    report(converting, converting.now, checkpoint=300, step="convert-val")
    look_after(converting, 10 * MINUTE)
    assert converting.step("convert-val").message.endswith("resume from step 300")
    assert converting.step("convert-train").checkpoint_step is None


def test_reconciliation_is_due_for_the_wait_of_a_step_that_is_not_the_current_one(converting: World) -> None:
    report(converting, converting.now, step="convert-val")
    assert look_after(converting, 3 * MINUTE).wake_at == converting.now + 7 * MINUTE


def test_delay_stays_until_the_next_report_when_another_step_becomes_the_current_one(converting: World) -> None:
    report(converting, converting.now, step="convert-val")
    look_after(converting, 10 * MINUTE)
    converting.succeed("convert-train")
    look_after(converting, MINUTE)
    plan = look_after(converting, MINUTE)
    assert converting.experiment.status.progress is None
    assert converting.step("convert-val").reason == "PublishDelayed"
    assert "PublishDelayed" not in {event.reason for event in plan.events}
    report(converting, None, step="convert-val")
    look_after(converting, MINUTE)
    assert converting.step("convert-val").reason == "Converting"


def test_step_does_not_show_a_checkpoint_that_has_waited_less(training: World) -> None:
    report(training, training.now)
    look_after(training, 10 * MINUTE - timedelta(seconds=1))
    assert (training.step("train").reason, training.step("train").message) == ("Training", "")


@pytest.mark.parametrize(("checkpoint", "resumed"), [(300, "resume from step 300"), (None, "start from the beginning")])
def test_message_states_the_time_and_what_another_attempt_would_do(
    training: World, checkpoint: int | None, resumed: str
) -> None:
    report(training, training.now, checkpoint=checkpoint)
    look_after(training, 10 * MINUTE)
    assert training.step("train").message == MESSAGE + resumed


def test_ready_has_the_message(training: World) -> None:
    report(training, training.now)
    look_after(training, 10 * MINUTE)
    ready = training.experiment.status.condition("Ready")
    assert ready is not None
    assert (ready.reason, ready.message) == (
        "Running",
        f"step train: PublishDelayed: {MESSAGE}start from the beginning",
    )


def test_reconciliation_is_due_when_the_wait_becomes_a_delay(training: World) -> None:
    report(training, training.now)
    plan = look_after(training, 3 * MINUTE)
    assert plan.wake_at == training.now + 7 * MINUTE


def test_delay_causes_no_further_reconciliation(training: World) -> None:
    ended_runs_go = training.look().wake_at
    report(training, training.now)
    assert look_after(training, 10 * MINUTE).wake_at == ended_runs_go
    assert look_after(training, MINUTE).wake_at == ended_runs_go


def test_delay_causes_one_warning(training: World) -> None:
    report(training, training.now)
    [event] = look_after(training, 10 * MINUTE).events
    assert (event.type, event.reason) == ("Warning", "PublishDelayed")
    assert event.message == f"step train: {MESSAGE}start from the beginning"
    assert look_after(training, MINUTE).events == ()


def test_status_is_not_written_again_while_the_delay_lasts(training: World) -> None:
    report(training, training.now)
    assert look_after(training, 10 * MINUTE).write_status
    assert not look_after(training, 10 * MINUTE).write_status


def test_delay_ends_with_the_publish(training: World) -> None:
    report(training, training.now)
    look_after(training, 10 * MINUTE)
    report(training, None)
    look_after(training, MINUTE)
    assert (training.step("train").reason, training.step("train").message) == ("Training", "")


def test_second_delay_causes_another_warning(training: World) -> None:
    report(training, training.now)
    look_after(training, 10 * MINUTE)
    report(training, None)
    look_after(training, MINUTE)
    report(training, training.now)
    assert [event.reason for event in look_after(training, 10 * MINUTE).events] == ["PublishDelayed"]


def test_wait_of_an_earlier_attempt_does_not_count(training: World) -> None:
    report(training, training.now)
    first = training.newest("train")
    del training.runs[first.key]
    training.runs[RunKey("train", 2)] = first.__class__(
        "train", 2, RunState.RUNNING, first.fingerprint, ran=training.now, started=training.now
    )
    look_after(training, 10 * MINUTE)
    assert (training.step("train").attempt, training.step("train").reason) == (2, "Training")


def test_stop_takes_precedence_over_the_delay(training: World) -> None:
    report(training, training.now)
    training.suspend(True)
    plan = look_after(training, 10 * MINUTE)
    assert training.step("train").state is StepState.STOPPING
    assert training.step("train").reason != "PublishDelayed"
    assert "PublishDelayed" not in {event.reason for event in plan.events}


def test_run_that_another_controller_has_relabeled_keeps_its_reason(training: World) -> None:
    report(training, training.now)
    training.change("train", held="Job x was relabeled")
    look_after(training, 10 * MINUTE)
    assert training.step("train").reason == "JobRelabeled"


def test_wait_from_a_clock_that_is_ahead_counts_from_now(training: World) -> None:
    report(training, training.now + timedelta(days=400_000))
    assert look_after(training, MINUTE).wake_at == training.now + 10 * MINUTE


def test_delay_shows_while_the_spec_is_invalid(training: World) -> None:
    report(training, training.now)
    spec = training.experiment.spec
    broken = spec.steps[0].model_copy(update={"name": spec.steps[1].name})
    training.edit(
        training.experiment.model_copy(update={"spec": spec.model_copy(update={"steps": (*spec.steps, broken)})})
    )
    assert look_after(training, MINUTE).wake_at == training.now + 9 * MINUTE
    look_after(training, 9 * MINUTE)
    assert training.step("train").reason == "PublishDelayed"
