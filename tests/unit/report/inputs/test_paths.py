"""Recorded paths as paths of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.report.inputs.paths import Moved, RecordedPaths
from maskrcnn_trainer.shared.variables import WORKSPACE_URL_VARIABLE, WORKSPACE_VARIABLE
from maskrcnn_trainer.task.staged_inputs import StagedInputs, use_staged_inputs


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


@pytest.fixture
def of_store(tmp_path: Path) -> Iterator[RecordedPaths]:
    """Return the paths of a step whose directory is a copy of one in object storage, without its model."""
    (tmp_path / "0" / "exp" / "train").mkdir(parents=True)
    use_staged_inputs(StagedInputs(urls={str(tmp_path / "0"): "s3://lab/ws"}))
    yield RecordedPaths([Moved.of("/workspace/exp/train", tmp_path / "0" / "exp" / "train")])
    use_staged_inputs(StagedInputs())


def test_file_that_was_not_loaded_is_in_object_storage(of_store: RecordedPaths, tmp_path: Path) -> None:
    assert of_store.in_store("/workspace/exp/train/m.tlt") == "s3://lab/ws/exp/train/m.tlt"
    (tmp_path / "0" / "exp" / "train" / "m.tlt").touch()
    assert of_store.in_store("/workspace/exp/train/m.tlt") is None


def test_file_that_was_loaded_on_its_own_is_found_at_its_copy(of_store: RecordedPaths, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "m.tlt").touch()
    urls = {str(tmp_path / "0"): "s3://lab/ws", str(tmp_path / "1"): "s3://lab/ws/exp/train"}
    use_staged_inputs(StagedInputs(urls=urls))
    assert of_store.present("/workspace/exp/train/m.tlt") == tmp_path / "1" / "m.tlt"
    assert of_store.folder("/workspace/exp/train/m.tlt") == tmp_path / "0" / "exp" / "train"
    assert of_store.in_store("/workspace/exp/train/m.tlt") is None


def test_url_that_was_recorded_is_in_object_storage_until_it_is_loaded(tmp_path: Path) -> None:
    paths = RecordedPaths([])
    assert paths.in_store("s3://lab/m.tlt") == "s3://lab/m.tlt"
    use_staged_inputs(StagedInputs(paths={"s3://lab/m.tlt": "/c/0/m.tlt"}))
    try:
        assert paths.in_store("s3://lab/m.tlt") is None
    finally:
        use_staged_inputs(StagedInputs())


def test_path_in_a_workspace_by_url_is_in_object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path))
    assert RecordedPaths([]).in_store("/workspace/raw/val.json") is None
    monkeypatch.setenv(WORKSPACE_URL_VARIABLE, "s3://lab/ws")
    assert RecordedPaths([]).in_store("/workspace/raw/val.json") == "/workspace/raw/val.json"


def test_absent_file_of_a_directory_on_this_machine_has_its_recorded_folder(tmp_path: Path) -> None:
    paths = RecordedPaths([Moved.of("/workspace/exp/train", tmp_path / "exp" / "train")])
    assert paths.folder("/workspace/exp/train/m.tlt") == Path("/workspace/exp/train")
