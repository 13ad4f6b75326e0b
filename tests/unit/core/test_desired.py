"""Desired state: merged specs from the manifest to the start of a step."""

from __future__ import annotations

from typing import Any

from maskrcnn_operator.api.status import StepState, StepStatus
from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.merge import merge_step
from maskrcnn_operator.core.plan import ReconcileContext
from maskrcnn_operator.core.starting import next_attempt

from .conftest import BUCKET, Make, in_a_bucket
from .world import SETTINGS, START


def given(spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = spec.model_dump(by_alias=True, exclude_unset=True)
    return found


def test_every_step_has_its_merged_spec(make: Make) -> None:
    experiment = make()
    desired = resolve(experiment)
    for step in experiment.spec.steps:
        found, merged = desired.specs[step.name], merge_step(experiment, desired.graph, step.name).spec
        assert found == merged
        assert found is None or merged is None or given(found) == given(merged)


def test_steps_with_the_same_spec_share_one_object(make: Make) -> None:
    specs = [spec for spec in resolve(make()).specs.values() if spec is not None]
    assert len(specs) == 6
    assert len({id(spec) for spec in specs}) == 3


def test_equal_specs_that_give_other_fields_are_not_shared(make: Make) -> None:
    """A Job's spec file has every explicit field, also one equal to its default."""

    def without_momentum(spec: dict[str, Any]) -> None:
        spec["experiment"].pop("momentum", None)

    def at_its_default(spec: dict[str, Any]) -> None:
        without_momentum(spec)
        spec["steps"][3]["experiment"] = {"momentum": default}

    plain = resolve(make(without_momentum)).specs["evaluate"]
    assert plain is not None
    default = plain.momentum
    specs = resolve(make(at_its_default)).specs
    assert specs["evaluate"] == specs["evaluate-pruned"]
    assert given(specs["evaluate"]) == {**given(specs["evaluate-pruned"]), "momentum": default}


def test_step_starts_with_the_spec_that_was_merged_when_the_manifest_was_read(make: Make) -> None:
    experiment = make()
    desired = resolve(experiment)
    context = ReconcileContext(experiment, (), desired, START, SETTINGS, lingering={}, refused={})
    steps = {
        step.name: StepStatus(name=step.name, state=StepState.SUCCEEDED, model_path="/workspace/model.tlt")
        for step in experiment.spec.steps
    }
    steps["evaluate"] = StepStatus(name="evaluate")
    _, start = next_attempt("evaluate", steps, context)
    assert start is not None
    assert start.spec is desired.specs["evaluate"]


def test_input_below_the_url_of_the_workspace_is_a_problem(make: Make) -> None:
    def below(spec: dict[str, Any]) -> None:
        spec["experiment"]["checkpoint"] = f"{BUCKET}/weights.npz"

    (problem,) = resolve(make(in_a_bucket, below)).problems
    assert (problem.field, "write /workspace/weights.npz" in problem.message) == ("spec.experiment.checkpoint", True)
    assert resolve(make(below)).problems == ()
