"""Attempts to start."""

from __future__ import annotations

from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.plan import ReconcileContext, Settings
from maskrcnn_operator.core.starting import next_attempt

from .conftest import Make
from .world import START


def test_attempt_has_the_fingerprints_of_every_step_before_it(make: Make) -> None:
    experiment = make(lambda spec: spec["steps"][7].update(dependsOn=["evaluate"]))
    context = ReconcileContext(experiment, (), resolve(experiment), START, Settings(), lingering={}, refused={})
    steps = {
        step.name: StepStatus(
            name=step.name, state=StepState.SUCCEEDED, model_path="/workspace/m", fingerprint=step.name
        )
        for step in experiment.spec.steps
    }
    steps["train"] = steps["train"].model_copy(update={"older_fingerprint": "older"})
    steps["inference"] = StepStatus(name="inference")
    _, start = next_attempt("inference", steps, context)
    assert start is not None
    before = {"convert-train", "convert-val", "train", "evaluate", "prune", "retrain"}
    assert start.input_fingerprints == {name: (name,) for name in before} | {"train": ("older", "train")}
