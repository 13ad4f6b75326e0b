"""Tests of what is removed from a working directory and loaded into it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tests.unit.publishing.file_store import FINGERPRINT, write_file, write_result

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.publishing.restoring import RestorePlan, make_folders, plan_restore, remove_others, stamps_of
from maskrcnn_trainer.publishing.snapshot import FileStamp
from maskrcnn_trainer.results.run_file import RunRecord
from maskrcnn_trainer.task.files import write_json_atomically


def file_of(path: str, content: str) -> PublishedFile:
    key = f"exp/train/o/1-aa-0-{path.rpartition('/')[2]}"
    return PublishedFile(path, key, len(content.encode()), hashlib.sha256(content.encode()).hexdigest())


def set_of(*files: PublishedFile) -> PublishedSet:
    return PublishedSet(FINGERPRINT, files)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Working directory that an earlier attempt has claimed."""
    directory = tmp_path / "train"
    directory.mkdir()
    write_json_atomically(directory / "run.json", RunRecord("uid-1", 1, FINGERPRINT, "t").to_json())
    return directory


def loaded(plan: RestorePlan) -> list[str]:
    return [file.path for file in plan.loaded]


def test_equal_file_is_kept_with_its_stamp(into: Path) -> None:
    write_file(into, "model.step-1.tlt", "a")
    file = file_of("model.step-1.tlt", "a")
    plan = plan_restore(set_of(file), into)
    assert (loaded(plan), plan.removed) == ([], ())
    assert plan.kept["model.step-1.tlt"].stamp == FileStamp.of((into / "model.step-1.tlt").lstat())


def test_file_of_equal_size_and_other_content_is_loaded(into: Path) -> None:
    write_file(into, "model.step-1.tlt", "b")
    assert loaded(plan_restore(set_of(file_of("model.step-1.tlt", "a")), into)) == ["model.step-1.tlt"]


def test_absent_file_is_loaded_into_a_missing_directory(tmp_path: Path) -> None:
    assert loaded(plan_restore(set_of(file_of("model.step-1.tlt", "a")), tmp_path / "new")) == ["model.step-1.tlt"]


def test_other_files_of_the_task_are_removed(into: Path) -> None:
    names = ["labels/1.json", "logs/attempt-1.log", "model.step-2.tlt", "status.json"]
    for name in names:
        write_file(into, name, "[]\n" if name.endswith("1.json") else "")
    (into / ".model.step-3.tlt.1.partial").write_text("x")
    (into / "logs/.attempt-1.log.1.partial").write_text("x")
    plan = plan_restore(set_of(), into)
    assert set(plan.removed) == {*names, ".model.step-3.tlt.1.partial", "logs/.attempt-1.log.1.partial"}


def test_nothing_published_keeps_no_file_of_the_task(into: Path) -> None:
    write_file(into, "model.step-2.tlt", "x")
    assert plan_restore(None, into).removed == ("model.step-2.tlt",)


def test_files_of_the_user_and_of_the_machine_stay(into: Path) -> None:
    for name in ("notes.txt", ".train.lock", "termination.json"):
        (into / name).write_text("x")
    (into / "images.json").write_text('{"images": "annotations of a user"}')
    assert plan_restore(set_of(), into).removed == ()


def test_result_is_removed_first(into: Path) -> None:
    write_file(into, "evaluations.json", "{}")
    write_result(into)
    assert plan_restore(set_of(), into).removed == ("result.json", "evaluations.json")


def test_result_is_loaded_last_and_alone(into: Path) -> None:
    files = set_of(file_of("result.json", "{}"), file_of("status.json", ""), file_of("model.step-1.tlt", "a"))
    groups = plan_restore(files, into).groups
    assert [[file.path for file in group] for group in groups] == [["status.json", "model.step-1.tlt"], ["result.json"]]


def test_equal_result_is_loaded_again_after_files_that_are_missing(into: Path) -> None:
    write_result(into)
    result = file_of("result.json", (into / "result.json").read_text())
    plan = plan_restore(set_of(file_of("model.step-1.tlt", "a"), result), into)
    assert plan.removed == ("result.json",)
    assert [[file.path for file in group] for group in plan.groups] == [["model.step-1.tlt"], ["result.json"]]


def test_some_paths_remove_nothing(into: Path) -> None:
    write_file(into, "model.step-2.tlt", "x")
    files = set_of(file_of("result.json", "{}"), file_of("status.json", ""))
    plan = plan_restore(files, into, frozenset({"result.json"}))
    assert (loaded(plan), plan.removed) == (["result.json"], ())


@pytest.mark.parametrize("path", ["run.json", ".train.lock", "notes.txt", ".ssh/authorized_keys", "termination.json"])
def test_set_with_a_file_that_no_task_publishes_is_refused(into: Path, path: str) -> None:
    with pytest.raises(InvalidInput, match="isn't a file that a task writes") as error:
        plan_restore(set_of(file_of(path, "a")), into)
    assert error.value.reason == "StoreRefused"


def test_link_in_place_of_a_file_is_refused(into: Path, tmp_path: Path) -> None:
    (into / "model.step-1.tlt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match=r"contains model\.step-1\.tlt"):
        plan_restore(set_of(file_of("model.step-1.tlt", "a")), into)


def test_link_in_place_of_a_directory_is_refused(into: Path, tmp_path: Path) -> None:
    (into / "labels").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="contains labels, which"):
        plan_restore(set_of(file_of("labels/1.json", "a")), into)


def test_file_in_place_of_a_directory_is_refused(into: Path) -> None:
    (into / "labels").write_text("x")
    with pytest.raises(InvalidInput, match="contains labels, which"):
        plan_restore(set_of(file_of("labels/1.json", "a")), into)


def test_directory_in_place_of_a_file_is_refused(into: Path) -> None:
    (into / "model.step-1.tlt").mkdir()
    with pytest.raises(InvalidInput, match=r"contains model\.step-1\.tlt"):
        plan_restore(set_of(file_of("model.step-1.tlt", "a")), into)


def test_pipe_in_place_of_a_file_is_refused(into: Path) -> None:
    os.mkfifo(into / "status.json")
    with pytest.raises(InvalidInput, match=r"contains status\.json"):
        plan_restore(set_of(file_of("status.json", "a")), into)


def test_file_of_the_user_is_not_replaced(into: Path) -> None:
    (into / "images.json").write_text('{"images": "annotations of a user"}')
    with pytest.raises(InvalidInput, match=r"contains images\.json"):
        plan_restore(set_of(file_of("images.json", "a")), into)


def test_directory_that_no_step_wrote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.step-1.tlt").write_text("of a user")
    with pytest.raises(InvalidInput, match=r"contains model\.step-1\.tlt") as error:
        plan_restore(set_of(), tmp_path)
    assert error.value.reason == "ForeignFiles"


def test_directory_with_a_foreign_run_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"mine": 1}')
    with pytest.raises(InvalidInput, match=r"contains run\.json"):
        plan_restore(set_of(), tmp_path)


def test_removal_deletes_empty_directories_only(into: Path) -> None:
    write_file(into, "labels/below/1.json", '[{"area": 1, "is_crowd": 0, "image_id": 1}]')
    write_file(into, "images_annotated/1.jpg", "x")
    (into / "images_annotated/notes.txt").write_text("x")
    remove_others(plan_restore(set_of(), into), into)
    assert sorted(path.name for path in into.rglob("*")) == ["images_annotated", "notes.txt", "run.json"]


def test_folders_are_not_made_through_a_link(into: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (into / "labels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="contains labels, which"):
        make_folders([file_of("labels/below/1.json", "a")], into)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_folders_of_all_files_are_made(into: Path) -> None:
    make_folders([file_of("labels/a/1.json", "a"), file_of("labels/a/2.json", "a")], into)
    assert (into / "labels/a").is_dir()


def test_stamps_are_those_of_the_loaded_files(into: Path) -> None:
    write_file(into, "status.json", "a")
    file = file_of("status.json", "a")
    assert stamps_of([file], into)["status.json"].stamp == FileStamp.of((into / "status.json").lstat())


def test_file_that_is_left_out_is_not_loaded_and_removed_if_it_is_there(into: Path) -> None:
    write_file(into, "logs/attempt-1.node-1.log", "a")
    files = set_of(file_of("logs/attempt-1.node-1.log", "a"), file_of("logs/attempt-1.node-2.log", "b"))
    plan = plan_restore(files, into, left_out=frozenset(file.path for file in files.files))
    assert (loaded(plan), plan.removed) == ([], ("logs/attempt-1.node-1.log",))
