"""Random edits, upgrades, rollbacks, and lost statuses: only steps whose recorded version covers an edit run again.

Directories are simulated as ``maskrcnn launch`` handles them: it takes a result with any fingerprint of the start, and
adds the others to it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from maskrcnn_operator.api.experiment import MaskRCNNExperiment
from maskrcnn_operator.api.manifest import read_object
from maskrcnn_operator.api.status import ExperimentStatus, StepState, StepStatus
from maskrcnn_operator.core.desired import DesiredState, resolve
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.core.reconcile import reconcile
from maskrcnn_operator.core.result import TaskResult
from maskrcnn_operator.core.runs import Run, RunState

from .world import SETTINGS, START

MANIFEST = """
apiVersion: maskrcnn.dev/v1alpha1
kind: MaskRCNNExperiment
metadata: {name: nuclei, uid: uid, generation: 1}
spec:
  workspace: {persistentVolumeClaim: {claimName: maskrcnn}}
  experiment:
    initLearningRate: 0.01
    totalSteps: 10
    checkpoint: /workspace/resnet50.hdf5
    dataConfig: {imageSize: [128, 128], numClasses: 4}
  steps:
  - {name: convert, datasetConvert: {imageDir: /data, annotationsFile: /data/train.json}}
  - {name: convert-val, datasetConvert: {imageDir: /data, annotationsFile: /data/val.json, split: val}}
  - {name: train, train: {}}
  - {name: evaluate, evaluate: {}}
  - {name: on-records, export: {dataType: int8}}
  - {name: on-images, export: {dataType: int8, calibration: {imageDir: /data/calibration}}}
"""
SHUFFLE, TRAINING, DRAW, NOTHING = "shuffle", "training", "draw", "nothing"
FIELDS = (SHUFFLE, TRAINING, DRAW, NOTHING)
CONSUMES = {"evaluate": ("train",), "on-records": ("train",), "on-images": ("train",), "train": ("convert",)}
COVERED = {
    # by version 1 and by version 2
    "train": ({SHUFFLE, TRAINING}, {TRAINING}),
    "evaluate": ({SHUFFLE, TRAINING}, {TRAINING}),
    "on-records": ({SHUFFLE, TRAINING, DRAW}, {TRAINING, DRAW}),
    "on-images": ({SHUFFLE, TRAINING}, {TRAINING, DRAW}),
}
Values = tuple[int, ...]


@functools.cache
def edited(values: Values) -> tuple[MaskRCNNExperiment, DesiredState]:
    given = dict(zip(FIELDS, values, strict=True))
    manifest: dict[str, Any] = yaml.safe_load(MANIFEST)
    spec = manifest["spec"]
    spec["experiment"]["dataConfig"]["shuffleBufferSize"] = 100 + given[SHUFFLE]
    spec["steps"][2]["revision"] = str(given[TRAINING])
    for step in spec["steps"][4:]:
        step["experiment"] = {"seed": given[DRAW] + 1}
    spec["maxRestarts"] = given[NOTHING]
    experiment = read_object(manifest)
    return experiment, resolve(experiment)


@dataclass
class Result:
    """Content of a results directory.

    Attributes:
        values: fields of the spec from which it was made.
        named: fields of the spec when it got its names.
        made_of: numbers of the results from which it was made.
        number: of this result.
        names: its fingerprints.
    """

    values: Values
    named: Values
    made_of: tuple[int, ...]
    number: int
    names: set[str] = field(default_factory=set)


class Machine:
    """Experiment whose steps succeed at once."""

    def __init__(self) -> None:
        self.values: Values = (0, 0, 0, 0)
        self.generation, self.old_release = 1, True
        self.status = ExperimentStatus()
        self.results: dict[str, Result] = {}
        self.number = 0

    def edit(self, name: str) -> None:
        place = FIELDS.index(name)
        self.values = (*self.values[:place], 1 - self.values[place], *self.values[place + 1 :])
        self.generation += 1

    def settle(self, steps: int = 100) -> list[str]:
        """Reconcile until all steps are done or ``steps`` tasks have run; return the steps whose task has run."""
        ran: list[str] = []
        runs: list[Run] = []
        for _ in range(60):
            plan = reconcile(self.experiment, runs, START, SETTINGS, self.desired)
            if not plan.start and plan.status == self.status:
                return ran
            self.status = plan.status
            if len(ran) >= steps:
                self.forget(*(start.step for start in plan.start))
                return ran
            runs = [run for run in runs if run.key not in plan.forget]
            for start in plan.start:
                names = self.names_of(start)
                ran += [start.step] if self.launch(start.step, names) else []
                recorded = names[-1]
                if self.old_release:
                    self.record(start.step, recorded)
                result = TaskResult(
                    exit_code=0, fingerprint=recorded, attempt=start.attempt, model_path="/workspace/m.tlt"
                )
                runs.append(Run(start.step, start.attempt, RunState.SUCCEEDED, recorded, exit_code=0, result=result))
        raise AssertionError("no fixed point")

    @property
    def desired(self) -> DesiredState:
        return edited(self.values)[1]

    @property
    def experiment(self) -> MaskRCNNExperiment:
        found = edited(self.values)[0]
        metadata = found.metadata.model_copy(update={"generation": self.generation})
        return found.model_copy(update={"metadata": metadata, "status": self.status})

    def names_of(self, start: StartRun) -> tuple[str, ...]:
        """Return the fingerprints of a start; a release with only version 1 uses that one."""
        return (self.desired.prints[start.step].by_version["v1"],) if self.old_release else start.fingerprints

    def record(self, name: str, fingerprint: str) -> None:
        steps = (
            step.model_copy(update={"fingerprint": fingerprint, "older_fingerprint": None})
            if step.name == name
            else step
            for step in self.status.steps
        )
        self.status = self.status.model_copy(update={"steps": tuple(steps)})

    def launch(self, name: str, names: tuple[str, ...]) -> bool:
        """Take the result in the directory or make a new one; return whether the task has run."""
        there = self.results.get(name)
        if there is not None and not there.names.isdisjoint(names):
            if not there.names.issuperset(names):
                there.names, there.named = set(names), self.values
            return False
        self.number += 1
        made_of = tuple(self.results[other].number for other in CONSUMES.get(name, ()))
        self.results[name] = Result(self.values, self.values, made_of, self.number, set(names))
        return True

    def begin_old_release(self) -> None:
        """Roll back: for the older release, a step with an unknown fingerprint has changed."""
        self.old_release = True
        known = {name: prints.by_version["v1"] for name, prints in self.desired.prints.items()}
        self.forget(*(name for name, recorded in self.recorded().items() if recorded != known[name]))

    def forget(self, *names: str) -> None:
        steps = (
            StepStatus(name=step.name, attempt=step.attempt) if step.name in names else step
            for step in self.status.steps
        )
        self.status = self.status.model_copy(update={"steps": tuple(steps)})

    def demands(self, name: str, there: Result, recorded: str, values: Values, action: str) -> bool:
        """Return whether an input that the fingerprint covers has changed since the result of a step was made."""
        newest = recorded == edited(values)[1].prints[name].newest
        if name == "on-images" and (self.old_release or not newest):
            # an older release does not record the seed, and does not find results that depend on it
            return action != "look" or not recorded
        by_older = not newest or self.old_release
        # an older release reads only the name, which covers the shuffling
        made = there.named if self.old_release else there.values
        changed = {field for field, old, new in zip(FIELDS, made, self.values, strict=True) if old != new}
        return bool(changed & COVERED.get(name, (set(), set()))[0 if by_older else 1])

    def recorded(self) -> dict[str, str]:
        return {step.name: step.fingerprint or "" for step in self.status.steps}


ACTIONS = st.lists(
    st.sampled_from([SHUFFLE, TRAINING, DRAW, NOTHING, SHUFFLE, DRAW, "upgrade", "roll back", "lose status", "look"]),
    max_size=8,
)


@given(begun=st.integers(0, 6), actions=ACTIONS)
@settings(max_examples=100, deadline=None)
def test_only_what_a_recorded_version_covers_runs_again(begun: int, actions: list[str]) -> None:
    machine = Machine()
    machine.settle(begun)
    machine.old_release = False
    for action in ["look", *actions]:
        before, values, numbers = machine.recorded(), machine.values, {**machine.results}
        if action in FIELDS:
            if machine.old_release:
                continue
            machine.edit(action)
        elif action == "upgrade":
            machine.old_release = False
        elif action == "roll back":
            machine.begin_old_release()
        elif action == "lose status":
            machine.status = ExperimentStatus()
        if machine.old_release and action != "roll back":
            continue
        ran = machine.settle()
        assert all(step.state is StepState.SUCCEEDED for step in machine.status.steps)
        for name in ran:
            there = numbers.get(name)
            if there is None or any(other in ran for other in CONSUMES.get(name, ())):
                continue
            assert machine.demands(name, there, before.get(name, ""), values, action), (
                f"{name} has run again after {action} ({values} to {machine.values}, recorded {before.get(name)})"
            )
        nothing_is_stale(machine)


def nothing_is_stale(machine: Machine) -> None:
    """Check that each result was made from the existing results and from the current spec."""
    for name, result in machine.results.items():
        made_of = tuple(machine.results[other].number for other in CONSUMES.get(name, ()))
        assert result.made_of == made_of, f"{name} is of a former {CONSUMES[name]}"
        changed = {field for field, old, new in zip(FIELDS, result.values, machine.values, strict=True) if old != new}
        covered = COVERED.get(name, (set(), set()))[1]
        assert not changed & covered, f"{name} is of other values of {changed & covered}"
