"""Merging of a step's overrides with those of the experiment."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.desired import resolve
from maskrcnn_operator.core.overrides import overrides_of
from maskrcnn_operator.core.plan import StartRun
from maskrcnn_operator.core.runs import RunState

from .conftest import Make
from .world import World


def merged(make: Make, whole: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the merged overrides of the train step, without defaults."""

    def change(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = whole
        spec["steps"][2]["podOverrides"] = own

    experiment = make(change)
    found = overrides_of(experiment, experiment.step("train")).model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    assert overrides_of(experiment, experiment.step("prune")) == experiment.spec.pod_overrides
    return found


@pytest.mark.parametrize("field", ["nodeSelector", "labels", "annotations"])
def test_maps_merge_by_key(make: Make, field: str) -> None:
    whole, own = {field: {"a": "1", "b": "1"}}, {field: {"b": "2", "c": "2"}}
    assert merged(make, whole, own) == {field: {"a": "1", "b": "2", "c": "2"}}


@pytest.mark.parametrize(
    ("field", "key"),
    [("env", "name"), ("imagePullSecrets", "name"), ("volumes", "name"), ("volumeMounts", "mountPath")],
)
def test_lists_with_names_merge_by_them_and_keep_their_order(make: Make, field: str, key: str) -> None:
    other = {"env": "value", "volumes": "emptyDir", "volumeMounts": "name"}.get(field)

    def entry(name: str, value: str) -> dict[str, Any]:
        rest: dict[str, Any] = {other: value} if other else {}
        return {key: name, **rest}

    whole = {field: [entry("a", "1"), entry("b", "1")]}
    own = {field: [entry("c", "2"), entry("a", "2")]}
    assert merged(make, whole, own) == {field: [entry("a", "2"), entry("b", "1"), entry("c", "2")]}
    assert merged(make, whole, {field: []}) == {}


def test_parts_of_kubernetes_without_a_name_are_kept_as_they_are(make: Make) -> None:
    whole, own = {"volumes": [{"emptyDir": {}}, {"name": 1}]}, {"volumes": [{"name": ["x"]}, {"name": "a"}]}
    assert merged(make, whole, own) == {"volumes": [*whole["volumes"], *own["volumes"]]}


@pytest.mark.parametrize(
    ("field", "whole", "own"),
    [
        ("tolerations", [{"key": "gpu", "operator": "Exists"}], [{"key": "spot", "operator": "Exists"}]),
        ("affinity", {"nodeAffinity": {"a": 1}}, {"podAffinity": {"b": 1}}),
        ("priorityClassName", "high", "low"),
        ("serviceAccountName", "trainer", "converter"),
        ("terminationGracePeriodSeconds", 60, 600),
        ("gpuResource", "amd.com/gpu", "example.com/gpu"),
    ],
)
def test_everything_else_replaces(make: Make, field: str, whole: Any, own: Any) -> None:
    assert merged(make, {field: whole}, {field: own}) == {field: own}
    assert merged(make, {field: whole}, {"labels": {"a": "b"}}) == {field: whole, "labels": {"a": "b"}}


@pytest.mark.parametrize(
    ("field", "whole", "empty"), [("tolerations", [{"key": "gpu"}], []), ("affinity", {"a": 1}, {})]
)
def test_empty_value_overrides_that_of_the_experiment(make: Make, field: str, whole: Any, empty: Any) -> None:
    assert not merged(make, {field: whole}, {field: empty}).get(field)


def test_a_default_of_a_step_is_not_given(make: Make) -> None:
    assert merged(make, {"gpuResource": "amd.com/gpu"}, {}) == {"gpuResource": "amd.com/gpu"}
    assert merged(make, {"gpuResource": "amd.com/gpu"}, {"gpuResource": "nvidia.com/gpu"}) == {}


def test_the_security_context_merges_field_by_field(make: Make) -> None:
    whole, own = {"runAsUser": 1000, "fsGroup": 2000}, {"fsGroup": 0, "runAsGroup": 7}
    expected = {"runAsUser": 1000, "fsGroup": 0, "runAsGroup": 7}
    assert merged(make, {"securityContext": whole}, {"securityContext": own})["securityContext"] == expected
    assert merged(make, {}, {"securityContext": own})["securityContext"] == own


def test_merged_annotations_too_large_for_a_pod_are_a_problem(make: Make) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["podOverrides"] = {"annotations": {f"note-{number}": "x" * 60_000 for number in range(3)}}
        spec["steps"][2]["podOverrides"] = {"annotations": {"note-3": "x" * 20_000}}

    (problem,) = resolve(make(change)).problems
    assert problem.field == "spec.steps[2].podOverrides.annotations"
    assert "at most 196608" in problem.message


def test_the_image_of_a_step_wins_and_a_new_one_counts_from_the_next_attempt(make: Make) -> None:
    world = World(
        make(lambda spec: spec.update(image="own:1"), lambda spec: spec["steps"][0].update(image="convert:1"))
    )
    world.settle()
    assert (world.step("convert-train").image, world.step("convert-val").image) == ("convert:1", "own:1")
    world.change("convert-train", state=RunState.RUNNING)
    world.look()
    world.edit(make(lambda spec: spec.update(image="own:1"), lambda spec: spec["steps"][0].update(image="convert:2")))
    plan = world.settle()
    assert (plan.stop, world.step("convert-train").image) == ((), "convert:1")
    world.fail("convert-train", 75)
    world.now = world.step("convert-train").next_attempt_time or world.now
    starts: tuple[StartRun, ...] = world.look().start
    assert [start.image for start in starts] == ["convert:2"]
