"""Tests of snapshots of a results directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.publishing.file_store import FINGERPRINT, write_file, write_result

from maskrcnn_trainer.object_store.fence.records import PublishedFile
from maskrcnn_trainer.publishing import snapshot as snapshot_module
from maskrcnn_trainer.publishing.snapshot import KnownFile, ResultsSnapshot, Snapshots
from maskrcnn_trainer.results.contents import entries


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "train").mkdir()
    return tmp_path / "train"


@pytest.fixture
def snapshots(results: Path) -> Snapshots:
    return Snapshots(results, FINGERPRINT)


def known_from(snapshot: ResultsSnapshot) -> dict[str, KnownFile]:
    return {file.path: KnownFile(file.stamp, PublishedFile(file.path, "k", 1, "")) for file in snapshot.files}


def paths(snapshot: ResultsSnapshot) -> list[str]:
    return [file.path for file in snapshot.files]


def test_replaced_file_keeps_its_content_in_the_snapshot(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "old")
    taken = snapshots.take({})
    write_file(results, "model.step-1.tlt", "new")
    assert (taken.directory / "model.step-1.tlt").read_text() == "old"


def test_removed_file_keeps_its_content_in_the_snapshot(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "old")
    taken = snapshots.take({})
    (results / "model.step-1.tlt").unlink()
    assert (taken.directory / "model.step-1.tlt").read_text() == "old"


def test_large_file_is_linked(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "old")
    taken = snapshots.take({})
    assert (taken.directory / "model.step-1.tlt").samefile(results / "model.step-1.tlt")


def test_file_that_grows_is_copied(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "status.json", "1\n")
    taken = snapshots.take({})
    with (results / "status.json").open("a") as stream:
        stream.write("2\n")
    assert (taken.directory / "status.json").read_text() == "1\n"


def test_incomplete_last_line_is_left_out(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "history.jsonl", '{"step":1}\n{"st')
    taken = snapshots.take({})
    assert (taken.directory / "history.jsonl").read_text() == '{"step":1}\n'


def test_incomplete_only_line_is_left_out(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "history.jsonl", '{"st')
    assert not (snapshots.take({}).directory / "history.jsonl").read_text()


def test_log_keeps_its_last_line(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "logs/attempt-1.node-0.log", "a\nb")
    assert (snapshots.take({}).directory / "logs/attempt-1.node-0.log").read_text() == "a\nb"


def test_known_file_is_neither_linked_nor_copied(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "labels/1.json", "[]")
    write_file(results, "status.json", "1\n")
    first = snapshots.take({})
    second = snapshots.take(known_from(first))
    assert paths(second) == paths(first)
    assert list(second.directory.iterdir()) == []


@pytest.mark.parametrize("content", ["old", "newer"])
def test_replaced_file_is_not_known_any_more(results: Path, snapshots: Snapshots, content: str) -> None:
    write_file(results, "labels/1.json", "old")
    known = known_from(snapshots.take({}))
    write_file(results, "labels/1.json", content)
    assert (snapshots.take(known).directory / "labels/1.json").exists()


def test_foreign_and_temporary_files_are_left_out(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "x")
    for name in ("notes.txt", "run.json", ".train.lock", ".model.step-2.tlt.1.partial"):
        (results / name).write_text("x")
    assert paths(snapshots.take({})) == ["model.step-1.tlt"]


def test_link_is_left_out(results: Path, snapshots: Snapshots, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (results / "model.step-1.tlt").symlink_to(tmp_path / "secret")
    assert paths(snapshots.take({})) == []


def test_name_that_no_manifest_can_have_is_reported(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "labels/a\nb.json", "[]")
    taken = snapshots.take({})
    assert (taken.left_out, taken.files) == (("labels/a\nb.json",), ())


def test_finished_task_is_complete(results: Path, snapshots: Snapshots) -> None:
    write_result(results)
    taken = snapshots.take({})
    assert (taken.is_complete, paths(taken)) == (True, ["result.json"])


def test_failed_task_is_not_complete_and_its_result_is_left_out(results: Path, snapshots: Snapshots) -> None:
    write_result(results, code=1)
    taken = snapshots.take({})
    assert (taken.is_complete, paths(taken)) == (False, [])


def test_task_that_finishes_meanwhile_is_not_complete(
    results: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:

    def finishing(directory: Path) -> object:
        found = list(entries(directory))
        write_file(results, "labels/late.json", "[]")
        write_result(results)
        return found

    monkeypatch.setattr(snapshot_module, "entries", finishing)
    taken = snapshots.take({})
    assert (taken.is_complete, paths(taken)) == (False, [])


def test_task_that_starts_again_meanwhile_is_not_complete(
    results: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_result(results)

    def starting(directory: Path) -> object:
        found = list(entries(directory))
        write_result(results)
        return found

    monkeypatch.setattr(snapshot_module, "entries", starting)
    assert not snapshots.take({}).is_complete


def test_file_that_vanishes_meanwhile_is_left_out(
    results: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(results, "model.step-1.tlt", "x")
    write_file(results, "model.step-2.tlt", "x")

    def vanishing(directory: Path) -> object:
        found = list(entries(directory))
        (results / "model.step-1.tlt").unlink()
        return found

    monkeypatch.setattr(snapshot_module, "entries", vanishing)
    assert paths(snapshots.take({})) == ["model.step-2.tlt"]


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_file_system_without_links_has_copies(
    results: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(results, "model.step-1.tlt", "old")
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    taken = snapshots.take({})
    write_file(results, "model.step-1.tlt", "new")
    assert (taken.directory / "model.step-1.tlt").read_text() == "old"


def test_full_disk_leaves_nothing_of_the_snapshot(
    results: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(results, "model.step-1.tlt", "old")
    monkeypatch.setattr(os, "link", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        snapshots.take({})
    assert list((results.parent / ".train.snapshots").iterdir()) == []


def test_snapshot_in_place_makes_no_file(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "old")
    write_file(results, "status.json", "1\n")
    taken = snapshots.take({}, in_place=True)
    assert paths(taken) == ["model.step-1.tlt", "status.json"]
    assert (taken.directory, list(results.parent.iterdir())) == (results, [results])


def test_snapshot_in_place_has_the_published_version_of_a_log(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "logs/attempt-1.log", "a\n")
    known = known_from(snapshots.take({}))
    with (results / "logs/attempt-1.log").open("a") as stream:
        stream.write("b\n")
    taken = snapshots.take(known, in_place=True)
    assert [file.stamp for file in taken.files] == [known["logs/attempt-1.log"].stamp]


def test_removal_of_a_snapshot_in_place_keeps_the_results(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "old")
    snapshots.remove(snapshots.take({}, in_place=True))
    assert (results / "model.step-1.tlt").exists()


def test_snapshots_of_a_killed_process_are_removed(results: Path, snapshots: Snapshots) -> None:
    write_file(results, "model.step-1.tlt", "old")
    snapshots.take({})
    Snapshots(results, FINGERPRINT).clear()
    assert list(results.parent.iterdir()) == [results]


def test_thousands_of_known_pictures_take_no_link(results: Path, snapshots: Snapshots) -> None:
    (results / "images_annotated").mkdir()
    for number in range(3000):
        (results / f"images_annotated/{number}.jpg").write_bytes(b"x")
    known = known_from(snapshots.take({}))
    write_file(results, "images_annotated/new.jpg", "y")
    taken = snapshots.take(known)
    assert len(taken.files) == 3001
    assert [path.name for path in taken.directory.rglob("*.jpg")] == ["new.jpg"]
