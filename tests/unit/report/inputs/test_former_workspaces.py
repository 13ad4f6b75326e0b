"""Former paths of a workspace from the specs of local runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.report.inputs.former_workspaces import former_workspaces
from maskrcnn_trainer.report.inputs.paths import Moved, RecordedPaths
from maskrcnn_trainer.report.inputs.step import Step
from maskrcnn_trainer.spec.task_name import TaskName


def former(workspace: Path, named: str) -> list[str]:
    """Return the former workspaces of an experiment whose spec has these training records."""
    home = workspace / "shapes"
    spec = json.loads(json.dumps(made.SPEC))
    spec["dataConfig"]["trainingFilePattern"] = named
    made.write_json(home / "train" / "logs" / "attempt-1.spec.yaml", spec)
    steps = [Step(home / name, TaskName.TRAIN) for name in ("convert", "train")]
    paths = RecordedPaths([Moved.of("/workspace/shapes/train", home / "train")])
    return list(map(str, former_workspaces(steps, paths)))


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("/old/ws/shapes/convert/t-*.tfrecord", ["/old/ws"]),
        ("/a/x-*, /old/shapes/convert/shapes/convert/t-*", ["/old/shapes/convert"]),
        ("/old/ws/other/convert/t-*", []),
        ("/old/ws/shapes/convert", []),
        ("/workspace/shapes/convert/t-*", []),
        ("shapes/convert/t-*", []),
    ],
)
def test_path_that_names_a_known_step_gives_the_workspace(tmp_path: Path, named: str, expected: list[str]) -> None:
    assert former(tmp_path, named) == expected


def test_present_workspace_is_not_a_former_one(tmp_path: Path) -> None:
    assert former(tmp_path, f"{tmp_path}/shapes/convert/t-*") == []


def test_damaged_spec_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "train" / "logs").mkdir(parents=True)
    (tmp_path / "train" / "logs" / "attempt-1.spec.yaml").write_text("{")
    assert former_workspaces([Step(tmp_path / "train", TaskName.TRAIN)], RecordedPaths([])) == ()


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [("/workspace/raw/val.json", ["/old/ws"]), ("/workspace/val.json", []), ("/workspace/other/val.json", [])],
)
def test_annotation_file_gives_the_workspace_where_no_step_is_named(
    tmp_path: Path, annotations: str, expected: list[str]
) -> None:
    step = tmp_path / "shapes" / "evaluate"
    spec = json.loads(json.dumps(made.SPEC).replace("/workspace/shapes/convert", "/old/ws/data"))
    spec["dataConfig"]["valJsonFile"] = "/old/ws/raw/val.json"
    made.write_json(step / "logs" / "attempt-1.spec.yaml", spec)
    images = [{"id": 1, "file": "/workspace/data/val-00000-of-00001.tfrecord", "offset": 12}]
    listed = {"version": 1, "evaluatedOn": "0" * 32, "annotations": annotations, "images": images}
    made.write_json(step / "images.json", listed)
    paths = RecordedPaths([Moved.of("/workspace/shapes/evaluate", step)])
    found = former_workspaces([Step(step, TaskName.EVALUATE)], paths)
    assert list(map(str, found)) == expected
