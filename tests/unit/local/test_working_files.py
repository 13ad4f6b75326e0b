"""Removal of working files whose results are published."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_operator.local.working_files import keep_working_files, remove_working_files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    found = tmp_path / ".working" / "shapes"
    for name in ("train/logs/a", "train.1a2b3c4d/a", ".train.snapshots/a", "train-2/a", "evaluate/a"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).touch()
    (found / ".train.termination.json").touch()
    return found


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_files_of_a_finished_step_are_removed_and_those_of_others_stay(directory: Path) -> None:
    remove_working_files(directory, "train")
    assert names(directory) == ["evaluate", "train-2"]


def test_only_directories_of_unfinished_steps_stay(directory: Path) -> None:
    keep_working_files(directory, {"train", "prune"})
    assert names(directory) == ["train"]
    assert (directory / "train" / "logs" / "a").exists()


def test_empty_directories_are_removed(directory: Path) -> None:
    keep_working_files(directory, ())
    assert not directory.parent.exists()


def test_target_of_a_link_stays(directory: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "train").mkdir(parents=True)
    (directory / "link").symlink_to(mine)
    (directory / "train" / "link").symlink_to(mine)
    (tmp_path / "to-mine").symlink_to(mine)
    keep_working_files(directory, ())
    keep_working_files(tmp_path / "to-mine", ())
    assert names(mine) == ["train"]


def test_directory_of_an_experiment_without_files_may_be_absent(tmp_path: Path) -> None:
    (tmp_path / ".working").mkdir()
    remove_working_files(tmp_path / ".working" / "shapes", "train")
    assert not (tmp_path / ".working").exists()
