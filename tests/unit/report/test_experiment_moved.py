"""Experiments whose workspace or directory has another path than when they ran."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.unit.report import made_experiment as made

from maskrcnn_trainer.report.experiment import ReadExperiment, read_experiment
from maskrcnn_trainer.report.inputs.experiment_directory import open_directory


def read(path: Path) -> ReadExperiment:
    return read_experiment(open_directory(path))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made.make_experiment(tmp_path / "ws")


def run_locally(home: Path) -> None:
    """Give the steps the spec that a local run keeps, with paths of this machine."""
    for step, pruned in (("train", {}), ("retrain", {"prunedModelPath": "/workspace/shapes/prune/model.tlt"})):
        spec = json.dumps(made.SPEC | pruned).replace("/workspace", str(home.parent))
        made.write_json(home / step / "logs" / "attempt-1.spec.yaml", json.loads(spec))


def test_moved_workspace_of_a_local_run_has_its_data_and_the_spec_of_before(home: Path, tmp_path: Path) -> None:
    run_locally(home)
    before = read(home)
    shutil.copytree(home.parent, tmp_path / "elsewhere" / "copy")
    shutil.rmtree(home.parent)
    after = read(tmp_path / "elsewhere" / "copy" / "shapes")
    assert after.experiment.data == before.experiment.data
    assert after.experiment.data[0].images == 100
    assert after.spec == before.spec
    assert after.spec is not None
    assert after.spec["prunedModelPath"] == '"/workspace/shapes/prune/model.tlt"'


def test_copy_of_a_workspace_is_read_instead_of_the_original(home: Path, tmp_path: Path) -> None:
    run_locally(home)
    shutil.copytree(home.parent, tmp_path / "copy")
    found = open_directory(tmp_path / "copy" / "shapes")
    assert found.paths.present(f"{home.parent}/raw/val.json") == tmp_path / "copy" / "raw" / "val.json"


def test_renamed_experiment_keeps_its_analysis(home: Path) -> None:
    run_locally(home)
    before = read(home)
    renamed = home.rename(home.parent / "a b")
    after = read(renamed)
    assert after.experiment.notes == ()
    assert after.experiment.evaluation == before.experiment.evaluation
    assert after.spec == before.spec


def test_absent_annotation_file_is_named_with_its_whole_path(home: Path) -> None:
    (home.parent / "raw" / "val.json").unlink()
    (note,) = read(home).experiment.notes
    assert note == f"The annotation file {home.parent}/raw/val.json can't be read: No such file or directory."
