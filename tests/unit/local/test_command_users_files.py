"""A user's own files survive edits of the spec, tested with the real trainer."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

from maskrcnn_operator.local.command import run_manifest
from maskrcnn_operator.local.process import clear_staging

TRAINER = (sys.executable, "-m", "maskrcnn_trainer.cli")


def manifest(image_dir: str, *, step: str = "images", shards: int = 1) -> dict[str, Any]:
    convert = {"imageDir": image_dir, "annotationsFile": "/workspace/set.json", "tag": "set", "numShards": shards}
    experiment = {
        "initLearningRate": 0.01,
        "totalSteps": 10,
        "dataConfig": {"imageSize": [128, 128], "numClasses": 2},
    }
    return {
        "apiVersion": "maskrcnn.dev/v1alpha1",
        "kind": "MaskRCNNExperiment",
        "metadata": {"name": "raw"},
        "spec": {
            "workspace": {"persistentVolumeClaim": {"claimName": "maskrcnn"}},
            "maxRestarts": 0,
            "experiment": experiment,
            "steps": [{"name": step, "datasetConvert": convert}],
        },
    }


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a workspace whose raw images are in the results directory of the step ``images`` of experiment ``raw``."""
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    monkeypatch.setenv("MASKRCNN_THREADS", "1")
    images = tmp_path / "ws" / "raw" / "images"
    images.mkdir(parents=True)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(images / "a.png")
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}],
        "annotations": [annotation | {"segmentation": [[0, 0, 9, 0, 9, 9]]}],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "ws" / "set.json").write_text(json.dumps(content))
    return tmp_path / "ws"


def run(workspace: Path, content: dict[str, Any]) -> int:
    file = workspace.parent / "experiment.yaml"
    file.write_text(yaml.safe_dump(content))
    return run_manifest(file, workspace, jobs=1, console=Console(file=io.StringIO()), trainer=TRAINER)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_edits_of_a_step_with_its_inputs_in_its_results_directory_lose_no_image(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for shards in (1, 2, 3):
        assert run(workspace, manifest("/workspace/raw/images", shards=shards)) == 64
        assert names(workspace / "raw" / "images") == ["a.png"]
    assert "spec.steps[0].datasetConvert.imageDir" in caplog.text
    assert "(spec.steps[0].name)" in caplog.text


def test_edits_of_a_step_that_reads_its_results_directory_through_a_link_lose_no_image(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (workspace / "link").symlink_to(workspace / "raw" / "images")
    for shards in (1, 2, 3):
        assert run(workspace, manifest("/workspace/link", shards=shards)) == 64
        assert names(workspace / "raw" / "images") == ["a.png"]
    assert (
        f"exit code 64: {workspace}/raw/images contains a.png, which wasn't written by a step of an experiment"
        in caplog.text
    )
    assert names(workspace / "raw") == [".lock", ".logs", "experiment-status.json", "images"]


def test_images_in_the_directory_of_a_removed_step_stay(workspace: Path) -> None:
    home = workspace / "raw"
    (home / "images").rename(home / "own")
    assert run(workspace, manifest("/workspace/raw/own", step="images")) == 0
    (home / "images" / "b.png").write_bytes(b"mine")
    for shards in (1, 2, 3):
        # the directory of a renamed step is an input like any other
        (home / "images" / "a.png").write_bytes((home / "own" / "a.png").read_bytes())
        assert run(workspace, manifest("/workspace/raw/images", step="renamed", shards=shards)) == 0
        assert {"a.png", "b.png", "run.json"} < set(names(home / "images"))
    # a step with the old name doesn't reclaim the directory
    assert run(workspace, manifest("/workspace/raw/own", step="images", shards=9)) == 64
    assert {"a.png", "b.png", "run.json"} < set(names(home / "images"))


def test_users_page_with_the_name_of_the_report_stays(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = workspace / "raw"
    (home / "images").rename(home / "own")
    content = manifest("/workspace/raw/own", step="convert")
    (home / "report.html").write_text("mine")
    assert run(workspace, content) == 0
    assert (home / "report.html").read_text() == "mine"
    assert f"No report was made: exit code 64: {home}/report.html isn't a report and would be" in caplog.text
    (home / "report.html").unlink()
    caplog.clear()
    assert run(workspace, content) == 0
    assert (home / "report.html").read_text().startswith("<!doctype html>")
    assert "No report was made" not in caplog.text


def test_clearing_the_staging_folder_keeps_files_of_users(tmp_path: Path) -> None:
    staging = tmp_path / ".staging"
    mine = (
        "job_1/spec.yaml",
        "job_1/data.bin",
        "train-3/spec.yaml",
        "train-3/notes",
        "mine/spec.yaml",
        "train-4/spec.yaml/a",
    )
    for name in ("train-1/spec.yaml", "train-1/output.log", "train-2/output.log", *mine):
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).touch()
    (staging / "train-5").touch()
    (tmp_path / "link").symlink_to(staging)
    clear_staging(tmp_path / "link")
    assert names(staging) == ["job_1", "mine", "train-1", "train-2", "train-3", "train-4", "train-5"]
    clear_staging(staging)
    assert sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file()) == sorted(
        [*mine, "train-5"]
    )
    assert names(staging) == ["job_1", "mine", "train-3", "train-4", "train-5"]


def test_clearing_the_staging_folder_removes_it_when_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".staging" / "train-1").mkdir(parents=True)
    (tmp_path / ".staging" / "train-1" / "spec.yaml").touch()
    for _ in range(2):
        clear_staging(tmp_path / ".staging")
        assert not (tmp_path / ".staging").exists()


@pytest.mark.parametrize("name", [".staging", ".logs", ".lock", "experiment-status.json"])
def test_link_at_the_path_of_a_file_of_the_run_is_refused(
    workspace: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = workspace.parent / "elsewhere"
    if name.startswith(".s") or name == ".logs":
        elsewhere.mkdir()
    (workspace / "raw" / name).symlink_to(elsewhere)
    before = names(workspace / "raw")
    assert run(workspace, manifest("/workspace/raw/images", step="convert")) == 64
    assert f"{workspace / 'raw' / name} is a link" in caplog.text
    assert names(workspace / "raw") == before
    assert not elsewhere.exists() or names(elsewhere) == []


def test_link_at_the_path_of_an_attempts_folder_is_not_followed(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = workspace.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "output.log").write_text("mine")
    (workspace / "raw" / ".staging").mkdir()
    (workspace / "raw" / ".staging" / "convert-1").symlink_to(elsewhere)
    assert run(workspace, manifest("/workspace/raw/images", step="convert")) == 1
    assert "it is a link" in caplog.text
    assert names(elsewhere) == ["output.log"]
    assert (elsewhere / "output.log").read_text() == "mine"


def test_link_in_a_results_directory_is_not_followed(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = workspace / "raw" / "convert"
    assert run(workspace, manifest("/workspace/raw/images", step="convert")) == 0
    (workspace.parent / "mine").write_text("mine")
    for name in ("termination.json", "logs/attempt-2.log", "logs/attempt-2.spec.yaml"):
        (home / name).unlink(missing_ok=True)
        (home / name).symlink_to(workspace.parent / "mine")
    (home / "result.json").unlink()
    assert run(workspace, manifest("/workspace/raw/images", step="convert")) == 64
    assert f"{workspace}/raw/convert contains termination.json" in caplog.text
    assert (workspace.parent / "mine").read_text() == "mine"


def test_log_that_cannot_be_moved_to_the_results_directory_is_kept_in_logs(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For example, the results directory may be on another volume."""
    replace = Path.replace

    def as_across_volumes(path: Path, target: Path) -> Path:
        if path.name == "output.log" and target.parent.parent.name == "convert":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", as_across_volumes)
    assert run(workspace, manifest("/workspace/raw/images", step="convert")) == 0
    assert "The log of attempt 1 can't be moved to" in caplog.text
    assert "Finished writing" in (workspace / "raw" / ".logs" / "convert.attempt-1.log").read_text()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["convert/run.json", "experiment-status.json"])
def test_named_pipe_at_the_path_of_a_file_of_the_run_does_not_block(workspace: Path, name: str) -> None:
    (workspace / "raw" / "convert").mkdir()
    os.mkfifo(workspace / "raw" / name)
    assert run(workspace, manifest("/workspace/raw/images", step="convert")) == 64
