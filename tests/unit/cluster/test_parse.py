"""Experiments of which only fields are invalid that no run is followed by."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from maskrcnn_operator.cluster.parse import UNKNOWN_WORKSPACE, read_experiment

SECRET = "c2lnbmF0dXJl"  # noqa: S105 - made up
WRONG_WORKSPACES: dict[str, tuple[Any, str]] = {
    "dots": ({"objectStorage": {"url": "s3://data/../x"}}, "spec.workspace.objectStorage.url"),
    "user info": ({"objectStorage": {"url": f"s3://id:{SECRET}@data/x"}}, "spec.workspace.objectStorage.url"),
    "user info of a long URL": (
        {"objectStorage": {"url": f"s3://id:{SECRET}@data/{'k' * 900}"}},
        "spec.workspace.objectStorage.url",
    ),
    "subPath as a URL": (
        {"persistentVolumeClaim": {"claimName": "data"}, "subPath": "s3://data/x"},
        "spec.workspace.subPath",
    ),
    "two places": (
        {"persistentVolumeClaim": {"claimName": "data"}, "objectStorage": {"url": "s3://data"}},
        "spec.workspace",
    ),
    "a number": (7, "spec.workspace"),
    "a list": ({"objectStorage": []}, "spec.workspace.objectStorage"),
}


def stored(experiment: dict[str, Any], **spec: Any) -> dict[str, Any]:
    experiment["metadata"] |= {"namespace": "ns", "resourceVersion": "7"}
    experiment["spec"] |= spec
    return experiment


@pytest.mark.parametrize(("workspace", "field"), WRONG_WORKSPACES.values(), ids=WRONG_WORKSPACES)
def test_experiment_with_a_wrong_workspace_is_read_without_any(
    experiment_object: dict[str, Any], workspace: Any, field: str
) -> None:
    experiment, problems = read_experiment(stored(experiment_object, workspace=workspace))
    assert experiment is not None
    assert experiment.spec.workspace == UNKNOWN_WORKSPACE
    assert [problem.field for problem in problems] == [field]
    assert SECRET not in pickle.dumps((experiment, problems)).decode("latin-1")


def test_experiment_without_a_workspace_is_read_without_any(experiment_object: dict[str, Any]) -> None:
    value = stored(experiment_object)
    del value["spec"]["workspace"]
    experiment, problems = read_experiment(value)
    assert experiment is not None
    assert (experiment.spec.workspace, [str(problem) for problem in problems]) == (
        UNKNOWN_WORKSPACE,
        ["spec.workspace: is required"],
    )


@pytest.mark.parametrize(
    "wrong", [{"takeOverFrom": "other"}, {"scratch": {"sizeLimit": "0"}}], ids=["takeOverFrom", "scratch"]
)
def test_experiment_keeps_the_url_next_to_a_wrong_field(
    experiment_object: dict[str, Any], wrong: dict[str, Any]
) -> None:
    workspace = {"objectStorage": {"url": "s3://data/results", **wrong}}
    experiment, problems = read_experiment(stored(experiment_object, workspace=workspace))
    assert experiment is not None
    assert experiment.spec.workspace.url == "s3://data/results"
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("queueName", "Team A"), ("encryptionKeySecretRef", {"name": "Not A Name"})]
)
def test_experiment_is_read_without_a_wrong_field_that_changes_only_while_suspended(
    experiment_object: dict[str, Any], field: str, value: Any
) -> None:
    experiment, problems = read_experiment(stored(experiment_object, **{field: value}))
    assert experiment is not None
    assert (experiment.spec.queue_name, experiment.spec.encryption_key_secret_ref) == ("", None)
    assert problems
    assert all(problem.field.startswith(f"spec.{field}") for problem in problems)


def test_experiment_with_another_wrong_field_is_not_read(experiment_object: dict[str, Any]) -> None:
    experiment, problems = read_experiment(stored(experiment_object, workspace=7, maxRestarts=-1))
    assert experiment is None
    assert {problem.field for problem in problems} == {"spec.workspace", "spec.maxRestarts"}


def test_problems_that_are_found_without_the_workspace_are_reported_too(experiment_object: dict[str, Any]) -> None:
    value = stored(experiment_object, workspace=7)
    value["spec"]["experiment"]["checkpoint"] = "s3://data/a?b=c"
    experiment, problems = read_experiment(value)
    assert experiment is None
    assert {problem.field for problem in problems} == {"spec.workspace", "spec.experiment.checkpoint"}
