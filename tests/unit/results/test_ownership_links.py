"""Links in a results directory: no task creates them, and writing to one would change its target."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.launch import LaunchSettings, launch
from maskrcnn_trainer.results.ownership import claim
from maskrcnn_trainer.results.run_file import read_run
from maskrcnn_trainer.task.environment import TaskEnvironment

A = "aaaaaaaa111111111111111111111111-v1"
B = "bbbbbbbb222222222222222222222222-v1"

NAMES = [
    "labels",
    "labels/sub",
    "labels/a.json",
    "termination.json",
    "status.json",
    "result.json",
    "run.json",
    "logs",
    "logs/x",
    "logs/attempt-1.node-0.log",
    "logs/tensorboard",
    "model.step-5.tlt",
    "evaluations.json",
    ".run.json.12.partial",
]


def start(directory: Path, fingerprint: str) -> None:
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint)


def snapshot(root: Path) -> dict[str, object]:
    """Return every file and link below a directory with its content."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def put_link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("target", ["file", "folder", "nothing"])
@pytest.mark.parametrize("claimed", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_a_results_directory_is_refused_before_anything_is_touched(
    tmp_path: Path, name: str, claimed: bool, target: str
) -> None:
    directory, elsewhere = tmp_path / "nuclei" / "infer", tmp_path / "elsewhere"
    (elsewhere / "folder").mkdir(parents=True)
    (elsewhere / "file").write_text("mine")
    (elsewhere / "folder" / "a.json").write_text("mine")
    if claimed:
        start(directory, A)
    put_link(directory / name, elsewhere / target)
    before = snapshot(tmp_path)
    for fingerprint in (A, B):
        with pytest.raises(InvalidInput, match=f"contains {name},") as caught:
            start(directory, fingerprint)
        assert (caught.value.exit_code, caught.value.reason) == (64, "ForeignFiles")
        assert snapshot(tmp_path) == before


def test_a_pipe_in_a_results_directory_is_refused(tmp_path: Path) -> None:
    start(tmp_path / "infer", A)
    os.mkfifo(tmp_path / "infer" / "status.json")
    with pytest.raises(InvalidInput, match=r"contains status\.json,"):
        start(tmp_path / "infer", A)


def test_the_first_of_several_links_is_named(tmp_path: Path) -> None:
    start(tmp_path / "infer", A)
    for name in ("b", "a/z"):
        put_link(tmp_path / "infer" / name, tmp_path)
    with pytest.raises(InvalidInput, match="contains b,"):
        start(tmp_path / "infer", A)


def test_a_results_directory_behind_a_link_in_its_parents_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "workspace").symlink_to(tmp_path / "volume")
    directory = tmp_path / "workspace" / "nuclei" / "infer"
    for fingerprint in (A, A, B, A):
        start(directory, fingerprint)
    assert sorted(path.name for path in (tmp_path / "volume" / "nuclei").iterdir()) == ["infer", "infer.bbbbbbbb"]


def test_termination_message_of_a_finished_step_is_not_written_through_a_link(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    directory.mkdir()
    (tmp_path / "mine").write_text("mine")
    (directory / "result.json").write_text(
        json.dumps({"task": "inference", "code": 0, "fingerprint": A, "artifacts": {}})
    )
    (directory / "termination.json").symlink_to(tmp_path / "mine")
    environment = TaskEnvironment.from_environ(
        {
            "MASKRCNN_RESULTS_DIR": str(directory),
            "MASKRCNN_FINGERPRINT": A,
            "MASKRCNN_TERMINATION_LOG": str(directory / "termination.json"),
        }
    )
    assert launch(LaunchSettings(1, 0, 1, None, ("inference",)), environment) == 0
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", ["status.json", "termination.json"])
def test_a_report_of_another_program_is_the_users(tmp_path: Path, name: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / name).write_text('{"servers": []}')
    before = snapshot(tmp_path)
    with pytest.raises(InvalidInput, match=f"contains {name},"):
        start(tmp_path / "web", A)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", ["", "\0" * 40, '{"date":"11/28/20', '{"date": "1/2/2021", "time": "3:4:5"}\n'])
def test_a_status_of_a_task_is_ours_also_where_it_is_cut_short(tmp_path: Path, content: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "status.json").write_text(content)
    start(tmp_path / "train", A)


@pytest.mark.timeout(30)
def test_a_pipe_called_run_json_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    assert read_run(tmp_path) is None
