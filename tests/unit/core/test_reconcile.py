"""``reconcile`` with a simulated executor that carries out its plans and does nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from maskrcnn_operator.api.status import Condition, ExperimentStatus, Metric, StepState, StepStatus
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.limits import active_time
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.core.reconcile import reconcile, seen
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import RunKey, RunState

from .world import SETTINGS, START, World


def test_first_reconciliation_starts_all_ready_steps(world: World) -> None:
    plan = world.look()
    assert [start.step for start in plan.start] == ["convert-train", "convert-val"]
    assert [step.name for step in plan.status.steps] == [step.name for step in world.experiment.spec.steps]


def test_experiment_whose_first_runs_could_not_be_started_has_been_seen(world: World) -> None:
    plan = seen(world.experiment, START, resolve(world.experiment))
    assert plan.start == ()
    assert {condition.type: condition.status for condition in plan.status.conditions} == {
        "Reconciling": "True",
        "Succeeded": "Unknown",
        "Ready": "Unknown",
    }
    assert {step.state for step in plan.status.steps} == {StepState.PENDING}
    assert len(plan.status.steps) == len(world.experiment.spec.steps)


def test_nine_steps_run_to_completion(world: World) -> None:
    world.settle()
    assert world.live() == {"convert-train", "convert-val"}
    assert world.conditions() == {"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}
    world.succeed("convert-train")
    assert world.step("train").reason == "WaitingForSteps"
    assert world.step("train").message == "waits for convert-val"
    world.succeed("convert-val")
    assert world.live() == {"train"}
    world.succeed("train")
    assert world.live() == {"evaluate", "prune"}
    world.succeed("evaluate", "prune")
    assert world.live() == {"retrain"}
    world.succeed("retrain")
    assert world.live() == {"evaluate-pruned", "inference", "export"}
    world.succeed("evaluate-pruned", "inference", "export")
    status = world.experiment.status
    assert world.conditions() == {"Succeeded": "True", "Ready": "True"}
    assert status.model_path == "/workspace/nuclei/retrain/model.tlt"
    assert status.export_path == "/workspace/nuclei/export/model.tlt"
    assert status.metrics == (Metric(name="AP", value="0.15"),)
    assert (status.restarts, status.current_step, status.active_since) == (0, None, None)
    assert status.active_seconds == 45
    assert status.completion_time == world.now
    reports = {step.name: step.report_path for step in status.steps if step.report_path}
    evaluations = ("evaluate", "evaluate-pruned")
    assert reports == {name: f"/workspace/nuclei/{name}/report.html" for name in evaluations}
    assert world.events.count("StepSucceeded") == 9
    assert world.events.count("ReportWritten") == 2
    assert world.events[-1] == "Succeeded"


def test_started_attempts(world: World) -> None:
    world.settle()
    world.succeed("convert-train")
    started: dict[str, StartRun] = {}
    for name in ("convert-val", "train", "evaluate", "prune"):
        run = world.newest(name)
        world.change(
            name,
            state=RunState.SUCCEEDED,
            ended=world.now,
            result=TaskResult(0, run.fingerprint, model_path=f"/workspace/{name}.tlt"),
        )
        started |= {start.step: start for start in world.look().start}
    assert started["train"].spec is not None
    assert started["train"].spec.checkpoint == "/workspace/pretrained/resnet50.hdf5"
    assert (started["train"].model_path, started["train"].image) == (None, "trainer:1")
    assert (started["evaluate"].model_path, started["prune"].model_path) == ("/workspace/train.tlt",) * 2
    assert started["prune"].spec is None
    retrain = started["retrain"].spec
    assert retrain is not None
    assert (retrain.pruned_model_path, retrain.checkpoint) == ("/workspace/prune.tlt", None)
    assert started["retrain"].model_path is None


def test_a_step_at_a_time(make: Any) -> None:
    world = World(make(), replace(SETTINGS, max_parallel_steps=1))
    world.settle()
    assert world.live() == {"convert-train"}
    assert world.step("convert-val").reason == "WaitingForTurn"
    world.succeed("convert-train")
    assert world.live() == {"convert-val"}


def test_running_and_current_step(training: World) -> None:
    step = training.step("train")
    assert (step.state, step.reason, step.attempt, step.image) == (StepState.RUNNING, "Training", 1, "trainer:1")
    assert training.experiment.status.current_step == "train"


@pytest.mark.parametrize(
    ("code", "fields", "after"),
    [
        (64, {}, (StepState.FAILED, "InvalidInput", 0, 0)),
        (64, {"disrupted": True}, (StepState.FAILED, "InvalidInput", 0, 0)),
        (64, {"result": TaskResult(64, reason="InvalidData")}, (StepState.FAILED, "InvalidData", 0, 0)),
        (75, {}, (StepState.PENDING, "BackOff", 1, 0)),
        (70, {}, (StepState.PENDING, "BackOff", 1, 0)),
        (137, {}, (StepState.PENDING, "BackOff", 1, 0)),
        (1, {}, (StepState.PENDING, "BackOff", 1, 0)),
        (None, {}, (StepState.PENDING, "BackOff", 1, 0)),
        (143, {}, (StepState.PENDING, "Disrupted", 0, 1)),
        (75, {"disrupted": True}, (StepState.PENDING, "Disrupted", 0, 1)),
        (None, {"disrupted": True}, (StepState.PENDING, "Disrupted", 0, 1)),
    ],
)
def test_failed_attempts(
    training: World, code: int | None, fields: dict[str, Any], after: tuple[StepState, str, int, int]
) -> None:
    training.fail("train", code, **fields)
    step = training.step("train")
    assert (step.state, step.reason, step.restarts, step.disruptions) == after
    assert step.exit_code == code
    waits = after[0] is StepState.PENDING
    assert step.next_attempt_time == (training.now + timedelta(seconds=10) if waits else None)


def test_next_attempt_waits_for_the_back_off(training: World) -> None:
    training.fail("train", 75)
    assert training.look().wake_at == training.now + timedelta(seconds=10)
    training.now += timedelta(seconds=9)
    assert training.look().start == ()
    training.now += timedelta(seconds=1)
    assert [(start.step, start.attempt) for start in training.look().start] == [("train", 2)]
    assert RunKey("train", 1) not in training.runs or not training.runs[RunKey("train", 1)].live
    training.fail("train", 75)
    assert training.step("train").next_attempt_time == training.now + timedelta(seconds=20)


def test_the_budget_of_restarts(training: World) -> None:
    for attempt in range(1, 5):
        assert training.step("train").attempt == attempt
        training.fail("train", 1)
        training.now += timedelta(minutes=5)
        training.settle()
    step = training.step("train")
    assert (step.state, step.restarts, step.attempt) == (StepState.FAILED, 3, 4)
    assert "maxRestarts (3) is used up" in step.message
    assert training.step("evaluate").reason == "UpstreamFailed"
    assert training.conditions() == {"Stalled": "True", "Succeeded": "False", "Ready": "False"}


def test_disruptions_are_limited_and_a_newer_checkpoint_resets_them(training: World) -> None:
    for attempt in range(19):
        training.change("train", checkpoint_step=100)
        training.fail("train", 143)
        training.now += timedelta(minutes=5)
        training.settle()
        # the first attempt has written a checkpoint
        assert training.step("train").disruptions == attempt + 1
    training.change("train", checkpoint_step=200)
    training.settle()
    assert training.step("train").disruptions == 0
    for _ in range(20):
        training.fail("train", 143)
        training.now += timedelta(minutes=5)
        training.settle()
    assert training.step("train").reason == "DisruptedTooOften"


def test_vanished_run_is_retried_and_not_counted(training: World) -> None:
    del training.runs[RunKey("train", 1)]
    training.settle()
    step = training.step("train")
    assert (step.state, step.reason, step.restarts) == (StepState.PENDING, "RunLost", 0)
    training.now += timedelta(seconds=10)
    training.settle()
    assert training.step("train").attempt == 2


def test_unreadable_result_is_retried(training: World) -> None:
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=None)
    training.settle()
    assert training.step("train").reason == "ResultUnreadable"
    assert training.step("train").restarts == 0


def test_run_missing_from_the_status_is_adopted(training: World) -> None:
    """The run was started, but the status could not be written."""
    run = training.newest("train")
    steps = tuple(
        StepStatus(name="train", state=StepState.PENDING) if step.name == "train" else step
        for step in training.experiment.status.steps
    )
    training.experiment = training.experiment.with_status(
        training.experiment.status.model_copy(update={"steps": steps})
    )
    assert training.look().start == ()
    assert (training.step("train").state, training.step("train").attempt) == (StepState.RUNNING, 1)
    assert training.step("train").fingerprint == run.fingerprint


def test_suspend_and_resume(training: World) -> None:
    training.suspend(True)
    plan = training.look()
    assert plan.stop == (RunKey("train", 1),)
    training.settle()
    assert training.conditions() == {"Reconciling": "True", "Succeeded": "Unknown", "Ready": "False"}
    training.now += timedelta(seconds=30)
    training.fail("train", 143, checkpoint_step=50)
    assert training.conditions() == {"Suspended": "True", "Succeeded": "Unknown", "Ready": "True"}
    assert (training.step("train").restarts, training.step("train").disruptions) == (0, 0)
    active = training.experiment.status.active_seconds
    training.now += timedelta(days=1)
    training.suspend(False)
    training.settle()
    assert training.live() == {"train"}
    assert training.step("train").attempt == 2
    assert training.step("train").checkpoint_step == 50
    assert training.experiment.status.active_seconds == active
    assert "Resumed" in training.events


def test_a_stopped_run_that_vanishes_or_succeeds(training: World) -> None:
    training.suspend(True)
    training.settle()
    other = World(training.experiment)
    other.runs, other.now = dict(training.runs), training.now
    del training.runs[RunKey("train", 1)]
    training.settle()
    assert (training.step("train").state, training.step("train").disruptions) == (StepState.PENDING, 0)
    other.succeed("train")
    assert other.step("train").state is StepState.SUCCEEDED


def test_resuming_tries_a_failed_step_again(training: World) -> None:
    training.fail("train", 64)
    training.suspend(True)
    training.settle()
    assert training.conditions() == {"Suspended": "True", "Succeeded": "Unknown", "Ready": "True"}
    training.suspend(False)
    training.settle()
    assert (training.step("train").attempt, training.step("train").restarts) == (2, 0)
    assert training.live() == {"train"}


def test_several_nodes_need_a_shared_workspace(make: Any) -> None:
    world = World(make(), replace(SETTINGS, workspace_shared=False))
    world.settle()
    ready = world.experiment.status.condition("Ready")
    assert ready is not None
    assert (ready.reason, "spec.steps[2].nodes" in ready.message) == ("WorkspaceNotShared", True)


def test_the_active_deadline(make: Any) -> None:
    world = World(make(lambda spec: spec.update(activeDeadlineSeconds=60)))
    world.settle()
    world.run("convert-train", "convert-val")
    assert world.look().wake_at == START + timedelta(seconds=60)
    world.now += timedelta(seconds=60)
    assert set(world.look().stop) == {RunKey("convert-train", 1), RunKey("convert-val", 1)}
    world.fail("convert-train", 143)
    world.fail("convert-val", 143)
    assert world.step("convert-val").reason == "DeadlineExceeded"
    assert world.conditions() == {"Stalled": "True", "Succeeded": "False", "Ready": "False"}


def test_the_deadline_until_a_step_runs(make: Any) -> None:
    world = World(make(lambda spec: spec.update(preRunningDeadlineSeconds=60)))
    world.settle()
    world.change("convert-train", state=RunState.RUNNING)
    world.change("convert-val", waiting_reason="ImagePullBackOff")
    world.settle()
    assert world.look().wake_at == START + timedelta(seconds=60)
    world.now += timedelta(seconds=60)
    assert world.look().stop == (RunKey("convert-val", 1),)
    world.fail("convert-val", 143)
    step = world.step("convert-val")
    assert (step.state, step.reason) == (StepState.FAILED, "PreRunningDeadlineExceeded")
    assert "ImagePullBackOff" in step.message
    assert world.live() == {"convert-train"}
    assert world.conditions()["Reconciling"] == "True"


def test_queued_runs_are_no_active_time(make: Any) -> None:
    world = World(make())
    world.settle()
    for name in ("convert-train", "convert-val"):
        world.change(name, state=RunState.QUEUED)
    world.settle()
    ready = world.experiment.status.condition("Ready")
    assert ready is not None
    assert ready.reason == "Queued"
    assert world.experiment.status.active_since is None


def test_runs_are_kept_until_their_time_is_over(training: World) -> None:
    assert RunKey("convert-train", 1) in training.runs
    training.now += timedelta(hours=3)
    training.settle()
    assert set(training.runs) == {RunKey("train", 1)}
    assert training.step("convert-train").state is StepState.SUCCEEDED


def test_times_of_conditions_stay_while_their_status_does(training: World) -> None:
    first = training.experiment.status.condition("Ready")
    training.now += timedelta(minutes=1)
    training.succeed("train")
    second = training.experiment.status.condition("Ready")
    assert first is not None
    assert second is not None
    assert second.last_transition_time == first.last_transition_time


def test_the_status_survives_json(training: World) -> None:
    text = training.experiment.status.model_dump_json(by_alias=True, exclude_none=True)
    assert ExperimentStatus.model_validate_json(text, strict=True) == training.experiment.status
    assert isinstance(training.experiment.status.conditions[0], Condition)


def test_conditions_of_other_writers_cost_no_write(training: World) -> None:
    foreign = Condition(type="Approved", status="True", reason="ByHand", last_transition_time=START)
    status = training.experiment.status
    stored = status.model_copy(update={"conditions": (foreign, *status.conditions)})
    experiment, runs = training.experiment.with_status(stored), list(training.runs.values())
    assert reconcile(experiment, runs, training.now, SETTINGS).write_status is False
    assert reconcile(experiment, [], training.now, SETTINGS).write_status is True


def test_fast_clock_of_a_node_does_not_delay_the_next_attempt(training: World) -> None:
    training.change("train", state=RunState.FAILED, exit_code=1, ended=training.now + timedelta(days=365))
    training.settle()
    assert training.step("train").next_attempt_time == training.now + timedelta(seconds=10)


def test_slow_clock_of_a_node_does_not_shorten_the_back_off(training: World) -> None:
    started = training.newest("train").started
    assert started is not None
    training.change("train", state=RunState.FAILED, exit_code=143, ended=started - timedelta(days=365))
    training.settle()
    assert training.step("train").next_attempt_time == started + timedelta(seconds=10)


def test_times_in_the_status_are_whole_seconds(world: World) -> None:
    world.now += timedelta(milliseconds=500)
    world.settle()
    assert world.step("convert-train").start_time == START
    assert {condition.last_transition_time for condition in world.experiment.status.conditions} == {START}


def test_a_suspension_takes_the_back_off_from_a_pending_step(training: World) -> None:
    training.fail("train", 75)
    training.suspend(True)
    training.settle()
    assert (training.step("train").reason, training.step("train").next_attempt_time) == ("Suspended", None)


def test_a_step_that_could_start_after_the_active_deadline_fails(make: Any) -> None:
    world = World(make(lambda spec: spec.update(activeDeadlineSeconds=60)))
    world.settle()
    world.run("convert-train", "convert-val")
    world.now += timedelta(seconds=55)
    world.succeed("convert-train")
    world.succeed("convert-val")
    step = world.step("train")
    assert (step.state, step.reason, step.attempt) == (StepState.FAILED, "DeadlineExceeded", 0)
    assert step.message == "activeDeadlineSeconds (60) exceeded"
    assert world.step("evaluate").reason == "UpstreamFailed"


def test_the_image_of_the_first_attempt_stays_until_the_user_names_one(training: World, make: Any) -> None:
    training.settings = replace(SETTINGS, default_image="trainer:2")
    training.fail("train", 75)
    training.now += timedelta(minutes=1)
    training.settle()
    assert (training.step("train").attempt, training.step("train").image) == (2, "trainer:1")
    training.edit(make(lambda spec: spec.update(image="own:1")))
    training.fail("train", 75)
    training.now += timedelta(minutes=1)
    training.settle()
    assert (training.step("train").attempt, training.step("train").image) == (3, "own:1")


def test_a_step_keeps_the_start_of_its_first_attempt(training: World) -> None:
    started = training.step("train").start_time
    training.fail("train", 75)
    training.now += timedelta(minutes=1)
    training.settle()
    assert (training.step("train").attempt, training.step("train").start_time) == (2, started)


def test_step_fails_if_its_upstream_step_named_no_model(training: World) -> None:
    result = TaskResult(0, training.newest("train").fingerprint)
    training.change("train", state=RunState.SUCCEEDED, exit_code=0, ended=training.now, result=result)
    training.settle()
    step = training.step("evaluate")
    assert (step.state, step.reason, step.attempt) == (StepState.FAILED, "Error", 0)
    assert step.message == "step train succeeded but named no model; change its revision to run it again"
    assert training.live() == set()


def test_a_step_stopped_by_the_active_deadline_fails_although_its_pods_linger(make: Any) -> None:
    world = World(make(lambda spec: spec.update(activeDeadlineSeconds=60)))
    world.settle()
    world.run("convert-train")
    world.now += timedelta(seconds=60)
    world.settle()
    world.lingering = {"convert-train": "pod x"}
    world.fail("convert-train", 143)
    step = world.step("convert-train")
    assert (step.state, step.reason) == (StepState.FAILED, "DeadlineExceeded")


def test_active_deadline_of_an_idle_experiment_requests_no_reconciliation(make: Any) -> None:
    world = World(make(lambda spec: spec.update(activeDeadlineSeconds=60)))
    world.settle()
    for name in ("convert-train", "convert-val"):
        world.change(name, state=RunState.QUEUED)
    assert world.settle().wake_at is None


def test_active_time_never_shrinks_where_the_clock_goes_back() -> None:
    status = ExperimentStatus(active_seconds=30, active_since=START)
    assert active_time(status, START - timedelta(seconds=10)) == timedelta(seconds=30)
    assert active_time(status, START + timedelta(seconds=10)) == timedelta(seconds=40)


def test_the_checkpoint_that_a_task_names_at_its_end_is_kept(training: World) -> None:
    training.fail("train", 143, result=TaskResult(143, checkpoint_step=70))
    step = training.step("train")
    assert (step.checkpoint_step, step.disruptions) == (70, 1)


def test_resuming_a_failed_step_gives_it_a_new_budget(training: World) -> None:
    for code in (1, 143, 64):
        training.fail("train", code)
        training.now += timedelta(minutes=5)
        training.settle()
    assert (training.step("train").restarts, training.step("train").disruptions) == (1, 1)
    training.suspend(True)
    training.settle()
    training.suspend(False)
    training.settle()
    assert (training.step("train").restarts, training.step("train").disruptions) == (0, 0)


def test_the_back_off_grows_with_failures_and_disruptions_together(training: World) -> None:
    training.fail("train", 75)
    training.now += timedelta(minutes=5)
    training.settle()
    training.fail("train", 143)
    assert training.step("train").next_attempt_time == training.now + timedelta(seconds=20)


def test_current_step_is_the_training_step(training: World) -> None:
    training.succeed("train", "prune")
    assert training.live() == {"evaluate", "retrain"}
    assert training.experiment.status.current_step == "retrain"
