"""The steps that a report covers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.report.inputs import experiment_directory
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory


def test_steps_are_in_the_order_of_their_completion(tmp_path: Path) -> None:
    for name, minute in (("b", 1), ("a", 2), ("c", 0)):
        made.write_result(tmp_path / "exp" / name, "evaluate", minute)
    assert [step.name for step in open_directory(tmp_path / "exp").steps] == ["c", "b", "a"]


@pytest.mark.parametrize("kind", ["absent", "file", "empty", "foreign"])
def test_directory_without_results_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.touch()
    elif kind != "absent":
        (path / "sub").mkdir(parents=True)
    if kind == "foreign":
        made.write_json(path / "result.json", {"outcome": "good"})
    with pytest.raises(InvalidInput, match=rf"^-r {path}: "):
        open_directory(path)


def test_damaged_results_are_noted_and_left_out(tmp_path: Path) -> None:
    made.write_result(tmp_path / "exp" / "evaluate", "evaluate", 1)
    for name, content in (("a", "{"), ("b", '{"task": ["train"]}'), ("c", "[]")):
        (tmp_path / "exp" / name).mkdir()
        (tmp_path / "exp" / name / "result.json").write_text(content)
    os.mkfifo(tmp_path / "exp" / "pipe")
    found = open_directory(tmp_path / "exp")
    assert [step.name for step in found.steps] == ["evaluate"]
    assert [note.split("/")[0] for note in found.notes] == ["a", "b", "c"]


def test_values_of_other_types_in_a_result_are_not_recorded(tmp_path: Path) -> None:
    made.write_json(
        tmp_path / "exp" / "evaluate" / "result.json",
        {"task": "evaluate", "code": 0, "modelPath": 5, "artifacts": {"a": 1, "b": {"path": "x\0", "bytes": 1},
         "c": {"path": "/w/c", "bytes": "many"}}, "metrics": "none", "versions": {"python": 3},
         "processes": -1, "threads": 1.5, "startTime": "yesterday", "completionTime": "2026-11-29T10:00:00"},
    )  # fmt: skip
    (step,) = open_directory(tmp_path / "exp" / "evaluate").steps
    assert (step.model_path, step.processes, step.threads, step.started, step.completed) == (None,) * 5
    assert {name: (one.path, one.size) for name, one in step.artifacts.items()} == {"c": ("/w/c", None)}
    assert (step.metrics, step.versions) == ({}, {})


@pytest.mark.parametrize(
    "older", ["train.8cdddf8c", "train.8cdddf8c.2", "train.12345678", "train.damaged-1", "train.changed-2"]
)
def test_older_results_of_a_step_are_left_out_unless_they_are_given(tmp_path: Path, older: str) -> None:
    for minute, name in enumerate((older, "train", "train.20261129")):
        made.write_result(tmp_path / "exp" / name, "train", minute)
    assert [step.name for step in open_directory(tmp_path / "exp").steps] == ["train", "train.20261129"]
    assert older in [step.name for step in open_directory(tmp_path / "exp" / older).steps]


def test_failed_steps_are_left_out(tmp_path: Path) -> None:
    for name in ("evaluate", "failed"):
        made.write_result(tmp_path / "exp" / name, "evaluate", 1)
    file = tmp_path / "exp" / "failed" / "result.json"
    made.write_json(file, json.loads(file.read_text()) | {"code": 64})
    assert [step.name for step in open_directory(tmp_path / "exp").steps] == ["evaluate"]


def test_evaluation_next_to_the_model_belongs_to_its_training(tmp_path: Path) -> None:
    made.write_result(tmp_path / "train", "train", 1)
    made.write_result(tmp_path / "train" / "evaluation", "evaluate", 2)
    found = open_directory(tmp_path / "train")
    assert found.evaluation is not None
    assert found.evaluation.name == "evaluation"


def test_hidden_directories_are_left_out(tmp_path: Path) -> None:
    for name in ("evaluate", ".staging"):
        made.write_result(tmp_path / "exp" / name, "evaluate", 1)
    assert [step.name for step in open_directory(tmp_path / "exp").steps] == ["evaluate"]


@pytest.mark.parametrize(
    ("limit", "note"),
    [
        ("MOST_STEPS", "exp has more than 2 steps; those from c on are left out."),
        ("MOST_ENTRIES", "exp has more than 2 entries; the others are left out."),
    ],
)
def test_steps_beyond_the_limit_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, note: str
) -> None:
    monkeypatch.setattr(experiment_directory, limit, 2)
    for minute, name in enumerate("ab"):
        made.write_result(tmp_path / "exp" / name, "evaluate", minute)
    assert open_directory(tmp_path / "exp").notes == ()
    for name in "cd":
        made.write_result(tmp_path / "exp" / name, "evaluate", 5)
    found = open_directory(tmp_path / "exp")
    assert len(found.steps) == 2
    assert found.notes == (note,)
