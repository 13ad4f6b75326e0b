"""Random histories: reconcile always reaches a fixed point, never runs a step twice, and loses no result."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.status import StepState
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.plan import Settings
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import Run, RunKey, RunState

MANIFEST = yaml.safe_load(Path(__file__).with_name("nine_steps.yaml").read_text())
SETTINGS = Settings(default_image="default:1")


def edited(seed: int, revision: int, broken: bool, image: str = "") -> MaskRCNNExperiment:
    manifest = copy.deepcopy(MANIFEST)
    manifest["spec"]["image"] = image
    manifest["spec"]["experiment"]["seed"] = seed
    manifest["spec"]["steps"][3]["revision"] = str(revision)
    if broken:
        manifest["spec"]["steps"][3]["modelFrom"] = "nobody"
    return read_object(manifest)


# reading a manifest takes milliseconds, so each variant is read once
IMAGES = ("", "own:1", "own:2")
EDITS = [(seed, revision, broken) for seed in (1, 2) for revision in (0, 1) for broken in (False, True)]
VARIANTS = {(edit, image): edited(*edit, image) for edit in EDITS for image in IMAGES}
# suspending keeps the same steps
RESOLVED = {id(variant.spec.steps): resolve(variant) for variant in VARIANTS.values()}

ACTIONS = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 8), st.sampled_from([0, 0, 0, 0, 1, 64, 70, 75, 137, 143])),
    st.tuples(st.just("progress"), st.integers(0, 8), st.integers(1, 100)),
    st.tuples(st.just("disrupt"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("run"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("preempt"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("admit"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("outlive"), st.integers(0, 8), st.sampled_from([0, 0, 1, 64, 75, 143])),
    st.tuples(st.just("half fail"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("mute"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("vanish"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("suspend"), st.just(0), st.integers(0, 1)),
    st.tuples(st.just("edit"), st.just(0), st.integers(0, len(EDITS) - 1)),
    st.tuples(st.just("image"), st.just(0), st.integers(0, len(IMAGES) - 1)),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([1, 11, 301, 11000])),
    st.tuples(st.just("lose status"), st.just(0), st.just(0)),
)


class Machine:
    def __init__(self) -> None:
        self.edit, self.image = EDITS[0], IMAGES[0]
        self.experiment = VARIANTS[self.edit, self.image]
        self.runs: dict[RunKey, Run] = {}
        self.now = datetime(2026, 11, 22, tzinfo=UTC)
        self.lose_next_status = False
        self.vanished: set[str] = set()

    @property
    def desired(self) -> DesiredState:
        """Return the desired state, computed once for each variant, as a long-lived caller does."""
        return RESOLVED[id(self.experiment.spec.steps)]

    def look(self) -> bool:
        """Reconcile once and carry out the plan; return whether anything changed."""
        before = self.experiment.status
        plan = reconcile(self.experiment, list(self.runs.values()), self.now, SETTINGS, self.desired)
        for start in plan.start:
            key = RunKey(start.step, start.attempt)
            assert not any(run.live for run in self.runs.values() if run.step == start.step), "two live runs of a step"
            assert key not in self.runs, "an attempt's number was used twice"
            # it is unknown whether the user named the image of a run that vanished
            assert start.step in self.vanished or start.image == (self.experiment.spec.image or "default:1")
            self.runs[key] = Run(
                start.step,
                start.attempt,
                RunState.STARTING,
                start.fingerprint,
                template=start.template,
                image=start.image,
                started=self.now,
            )
        for key in plan.stop:
            if self.runs[key].live:
                self.runs[key] = replace(self.runs[key], state=RunState.STOPPING, failing="", exit_code=None)
        if self.lose_next_status and plan.start:
            # the operator was killed after it had created the Jobs
            self.lose_next_status = False
            return True
        for key in plan.forget:
            run = self.runs.pop(key)
            assert not run.live
        self.experiment = self.experiment.with_status(plan.status)
        return bool(plan.start) or plan.status != before

    def settle(self) -> None:
        for _ in range(30):
            if not self.look():
                break
        else:
            raise AssertionError("no fixed point")
        self.check()

    def check(self) -> None:
        status = self.experiment.status
        desired = self.desired
        assert not any(run.unfinished for run in self.runs.values()), "what has ended holds resources"
        assert not any(run.failing for run in self.runs.values()), "a worker group runs on although a pod has failed"
        for step in status.steps:
            if step.state is StepState.RUNNING:
                assert step.run_start_time is not None
            mine = [run for run in self.runs.values() if run.step == step.name]
            assert sum(run.live for run in mine) <= 1
            assert step.attempt >= max((run.attempt for run in mine), default=0)
            waits = [run for run in mine if run.attempt == step.attempt and run.state is RunState.STARTING]
            if waits and step.run_start_time is None and not desired.problems:
                assert waits[0].template == desired.templates[step.name], "an attempt waits with an old template"
            if step.state is StepState.SUCCEEDED and not desired.problems:
                assert desired.recognizes(step.name, step.fingerprint)
        kinds = {condition.type for condition in status.conditions}
        resting = not any(run.live for run in self.runs.values())
        waiting = any(step.next_attempt_time for step in status.steps)
        if resting and not waiting:
            assert kinds & {"Succeeded"}
            assert status.is_true("Succeeded") or status.is_true("Stalled") or status.is_true("Suspended")

    def act(self, action: str, which: int, value: int) -> None:  # noqa: C901, PLR0912 - one branch per action
        live = [run for run in self.runs.values() if run.live]
        run = live[which % len(live)] if live else None
        if action == "suspend":
            self.experiment = self.experiment.suspended(bool(value))
        elif action in ("edit", "image"):
            self.edit, self.image = (EDITS[value], self.image) if action == "edit" else (self.edit, IMAGES[value])
            variant = VARIANTS[self.edit, self.image]
            self.experiment = variant.with_status(self.experiment.status).suspended(self.experiment.spec.suspend)
        elif action == "wait":
            self.now += timedelta(seconds=value)
        elif action == "lose status":
            self.lose_next_status = True
        elif run is None:
            return
        elif action == "vanish":
            del self.runs[run.key]
            self.vanished.add(run.step)
        elif action == "progress":
            ran = run.ran or self.now
            self.runs[run.key] = replace(run, state=RunState.RUNNING, ran=ran, checkpoint_step=value)
        elif run.state is not RunState.STOPPING and action in ("run", "preempt", "admit"):
            state = {"run": RunState.RUNNING, "preempt": RunState.QUEUED, "admit": RunState.STARTING}[action]
            ran = run.ran or (self.now if action == "run" else None)
            self.runs[run.key] = replace(run, state=state, ran=ran, started=self.now)
        elif action == "outlive":
            self.end(run, value, unfinished=True)
        elif action == "half fail" and run.state is not RunState.STOPPING:
            self.runs[run.key] = replace(run, failing="pod x on node y: exit code 1", exit_code=1)
        elif action == "end":
            self.end(run, value)
        elif action == "disrupt":
            self.end(run, 143, disrupted=True)
        elif action == "mute":
            self.runs[run.key] = replace(run, state=RunState.SUCCEEDED, exit_code=0, ended=self.now)

    def end(self, run: Run, code: int, **fields: Any) -> None:
        result = TaskResult(code, run.fingerprint, run.attempt, f"/workspace/{run.step}.tlt") if code == 0 else None
        state = RunState.FAILED if code else RunState.SUCCEEDED
        self.runs[run.key] = replace(run, state=state, exit_code=code, result=result, ended=self.now, **fields)


@settings(max_examples=300)
@given(st.lists(ACTIONS, max_size=40))
def test_random_histories(actions: list[tuple[str, int, int]]) -> None:
    machine = Machine()
    machine.settle()
    for action in actions:
        before = {step.name: step for step in machine.experiment.status.steps}
        succeeding = [run.key for run in machine.runs.values() if run.live and action[0] == "end" and action[2] == 0]
        machine.act(*action)
        machine.settle()
        for step in machine.experiment.status.steps:
            old = before[step.name]
            if (old.attempt, old.fingerprint) == (step.attempt, step.fingerprint):
                assert old.run_start_time in (None, step.run_start_time), "when an attempt first ran was forgotten"
        ended = [key for key in succeeding if key in machine.runs and not machine.runs[key].live]
        desired = machine.desired
        for key in ended:
            run, step = machine.runs[key], machine.experiment.status.step(key.step)
            assert step is not None
            if not desired.problems and desired.recognizes(key.step, run.fingerprint):
                assert step.state is StepState.SUCCEEDED, "a result was lost"
        if action[0] in ("wait", "progress", "vanish", "disrupt", "lose status"):
            for step in machine.experiment.status.steps:
                if before[step.name].state is StepState.SUCCEEDED:
                    assert step.state is StepState.SUCCEEDED


@settings(max_examples=100)
@given(st.lists(ACTIONS, max_size=20))
def test_every_history_can_still_succeed(actions: list[tuple[str, int, int]]) -> None:
    machine = Machine()
    machine.settle()
    for action in actions:
        machine.act(*action)
        machine.settle()
    # the user corrects the spec, suspends, and resumes; then every attempt succeeds
    machine.experiment = VARIANTS[EDITS[0], IMAGES[0]].with_status(machine.experiment.status).suspended(True)
    machine.settle()
    for run in [run for run in machine.runs.values() if run.live]:
        machine.end(run, 143)
    machine.settle()
    machine.experiment = machine.experiment.suspended(False)
    for _ in range(40):
        machine.settle()
        for run in [run for run in machine.runs.values() if run.live]:
            machine.end(run, 0)
        machine.now += timedelta(minutes=5)
    machine.settle()
    assert machine.experiment.status.is_true("Succeeded")
