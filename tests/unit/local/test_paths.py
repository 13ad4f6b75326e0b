"""Paths and URLs of a manifest on this machine, and the spec that a local run hands to a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskrcnn_operator.local.paths import LocalWorkspace
from maskrcnn_trainer.spec import parse_spec

SPEC: dict[str, Any] = {
    "initLearningRate": 0.01,
    "totalSteps": 5,
    "dataConfig": {"imageSize": [128, 128], "numClasses": 2},
}


@pytest.mark.parametrize(
    ("given", "local"),
    [
        ("/workspace/a", "{}/a"),
        ("file:///workspace/a%20b", "{}/a%20b"),
        ("file:///data/a", "/data/a"),
        ("/data/a", "/data/a"),
        ("s3://workspace/a", "s3://workspace/a"),
        ("/workspace2/a", "/workspace2/a"),
    ],
)
def test_path_and_url_of_a_file_are_local_and_other_urls_are_unchanged(given: str, local: str, tmp_path: Path) -> None:
    assert LocalWorkspace(tmp_path).to_local(given) == local.format(tmp_path)


def test_key_of_a_url_that_contains_the_directory_stays_as_it_is(tmp_path: Path) -> None:
    text = f"{tmp_path}/a isn't s3://data{tmp_path}/a, which isn't file://{tmp_path}/a"
    found = LocalWorkspace(tmp_path).in_manifest_form(text)
    assert found == f"/workspace/a isn't s3://data{tmp_path}/a, which isn't file:///workspace/a"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"maskrcnnConfig": {}},
        {"maskrcnnConfig": {"nlayers": 50, "testScoreThreshold": 0.0, "roiAligned": True}},
        {"classMapping": {"traffic light": "Ampel"}, "checkpointBnEpsilon": 0.0},
    ],
)
def test_task_gets_the_given_fields_alone(tmp_path: Path, given: dict[str, Any]) -> None:
    """A default would count as given, so the task would compare it with the model file."""
    assert LocalWorkspace(tmp_path).localized(parse_spec(SPEC | given)) == SPEC | given


def test_paths_below_the_workspace_become_those_of_this_machine(tmp_path: Path) -> None:
    paths = {
        "checkpoint": "/workspace/a.pth",
        "checkpointConfig": "/workspace/b.yaml",
        "prunedModelPath": "/models/c.tlt",
    }
    data = SPEC["dataConfig"] | {"trainingFilePattern": "/workspace/t-*,/data/t-*", "valJsonFile": "/workspace/v.json"}
    localized = LocalWorkspace(tmp_path).localized(parse_spec(SPEC | paths | {"dataConfig": data}))
    assert {name: localized[name] for name in paths} == {
        "checkpoint": f"{tmp_path}/a.pth",
        "checkpointConfig": f"{tmp_path}/b.yaml",
        "prunedModelPath": "/models/c.tlt",
    }
    assert localized["dataConfig"]["trainingFilePattern"] == f"{tmp_path}/t-*,/data/t-*"
    assert localized["dataConfig"]["valJsonFile"] == f"{tmp_path}/v.json"
