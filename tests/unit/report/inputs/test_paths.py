"""Recorded paths as paths of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskrcnn_trainer.report.inputs.paths import Moved, RecordedPaths
from maskrcnn_trainer.shared.variables import WORKSPACE_VARIABLE


def test_directory_that_has_both_names_gives_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "val.json").touch()
    moved = Moved.of("/workspace/shapes/train", tmp_path / "shapes" / "train")
    assert RecordedPaths([moved]).present("/workspace/raw/val.json") == tmp_path / "raw" / "val.json"


def test_directory_called_workspace_is_the_workspace(tmp_path: Path) -> None:
    moved = Moved.of("/workspace/shapes/train", tmp_path / "workspace" / "shapes" / "train")
    assert (str(moved.recorded), moved.present) == ("/workspace", tmp_path / "workspace")


def test_path_that_exists_nowhere_is_unchanged(tmp_path: Path) -> None:
    paths = RecordedPaths([Moved.of("/workspace/shapes/train", tmp_path / "shapes" / "train")])
    assert paths.present("/workspace/raw/val.json") == Path("/workspace/raw/val.json")


def test_pattern_is_mapped_where_its_directory_exists(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    paths = RecordedPaths([Moved.of("/workspace/shapes/train", tmp_path / "shapes" / "train")])
    assert paths.present("/workspace/data/val-*.tfrecord") == tmp_path / "data" / "val-*.tfrecord"
    assert paths.present("/workspace/gone/val-*.tfrecord") == Path("/workspace/gone/val-*.tfrecord")


def test_path_of_another_directory_is_unchanged(tmp_path: Path) -> None:
    paths = RecordedPaths([Moved.of("/data/exp/train", tmp_path / "exp" / "train")])
    (tmp_path / "base").mkdir()
    assert paths.present("/database") == Path("/database")


def test_relative_paths_belong_to_the_directory_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "val.json").touch()
    paths = RecordedPaths([Moved.of("out/evaluate", tmp_path / "out" / "evaluate")])
    assert paths.present("val.json") == tmp_path / "val.json"
    assert paths.present("/val.json") == Path("/val.json")


def test_variable_of_the_workspace_counts_without_a_known_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path))
    assert RecordedPaths([]).present("/workspace/a") == tmp_path / "a"


def test_two_names_of_one_file_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "model.tlt").touch()
    paths = RecordedPaths([Moved.of("/workspace/e/t", tmp_path / "e" / "t")])
    assert paths.same_file("/workspace/model.tlt", f"{tmp_path}/e/../model.tlt")
    assert not paths.same_file("/workspace/model.tlt", "/workspace/other.tlt")


def test_paths_of_this_machine_get_their_workspace_form(tmp_path: Path) -> None:
    paths = RecordedPaths([Moved.of("/workspace/e/t", tmp_path / "e" / "t")])
    assert paths.recorded(f"{tmp_path}/raw/val.json") == "/workspace/raw/val.json"
    assert paths.recorded("/elsewhere/val.json") == "/elsewhere/val.json"


def test_renamed_directory_is_in_its_former_workspace(tmp_path: Path) -> None:
    for name in ("a b/train", "a b/raw", "raw"):
        (tmp_path / name).mkdir(parents=True)
    paths = RecordedPaths([Moved.of("/workspace/shapes/train", tmp_path / "a b" / "train")])
    assert paths.present("/workspace/shapes/train") == tmp_path / "a b" / "train"
    assert paths.present("/workspace/raw") == tmp_path / "raw"
    assert paths.recorded(f"{tmp_path}/a b/train/model.tlt") == "/workspace/shapes/train/model.tlt"
    assert paths.recorded(f"{tmp_path}/raw/val.json") == "/workspace/raw/val.json"


def test_variable_of_the_workspace_counts_more_than_a_renamed_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ws/raw", "copies/raw", "copies/new/train"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setenv(WORKSPACE_VARIABLE, f"{tmp_path}/ws/")
    paths = RecordedPaths([Moved.of("/workspace/shapes/train", tmp_path / "copies" / "new" / "train")])
    assert paths.present("/workspace/raw") == tmp_path / "ws" / "raw"
    assert paths.recorded(f"{tmp_path}/ws/raw/val.json") == "/workspace/raw/val.json"


@pytest.mark.parametrize("recorded", ["/data/shapes/train", "out/train", "/workspace/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p"])
def test_renamed_directory_elsewhere_gives_no_workspace(recorded: str) -> None:
    assert Moved.of(recorded, Path("/x/y/other")).workspace() is None


def test_path_that_exists_nowhere_is_expected_at_its_most_reliable_place(tmp_path: Path) -> None:
    paths = RecordedPaths([Moved.of("/workspace/shapes/train", tmp_path / "new" / "train")])
    assert paths.expected("/workspace/shapes/val.json") == tmp_path / "new" / "val.json"
    assert paths.expected("/data/val.json") == Path("/data/val.json")
    (tmp_path / "val.json").touch()
    assert paths.expected("/workspace/val.json") == tmp_path / "val.json"
