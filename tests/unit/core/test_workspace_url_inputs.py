"""Inputs by URL that overlap a workspace in object storage."""

from __future__ import annotations

from typing import Any

import pytest

from maskrcnn_operator.core.workspace_url_inputs import problems_of_workspace_url

from .conftest import Change, Make

URL = "s3://data/runs"


def step(index: int, task: str | None, **fields: Any) -> Change:
    def change(spec: dict[str, Any]) -> None:
        target = spec["steps"][index] if task is None else spec["steps"][index][task]
        target.update(fields)

    return change


OVERLAPS = [
    (step(0, "datasetConvert", imageDir="s3://data"), "spec.steps[0].datasetConvert.imageDir"),
    (step(3, None, modelPath="s3://data/runs/a/train/model.tlt"), "spec.steps[3].modelPath"),
    (
        step(8, "export", calibration={"imageDir": "s3://data/runs"}),
        "spec.steps[8].export.calibration.imageDir",
    ),
    (lambda spec: spec["experiment"].update(checkpoint="s3://data/runs/w.npz"), "spec.experiment.checkpoint"),
    (
        lambda spec: spec["experiment"]["dataConfig"].update(trainingFilePattern="s3://other/a-*, s3://data/r*/a-*"),
        "spec.experiment.dataConfig.trainingFilePattern",
    ),
    (
        step(5, None, experiment={"prunedModelPath": "s3://data/runs/p.tlt"}),
        "spec.steps[5].experiment.prunedModelPath",
    ),
]


@pytest.mark.parametrize(("change", "field"), OVERLAPS, ids=[field for _, field in OVERLAPS])
def test_overlap_is_a_problem_of_its_field(make: Make, change: Change, field: str) -> None:
    (problem,) = problems_of_workspace_url(make(change), URL)
    assert problem.field == field
    assert "/workspace" in problem.message


def test_other_urls_and_paths_are_no_problem(make: Make) -> None:
    change = step(0, "datasetConvert", imageDir="s3://data/raw", annotationsFile="/workspace/a.json")
    assert list(problems_of_workspace_url(make(change), URL)) == []
