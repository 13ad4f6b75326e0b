"""Tests of the published set of a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.publishing.file_store import FINGERPRINT, KEYS, write_file, write_result

from maskrcnn_trainer.object_store.fence.records import PublishedFile, PublishedSet
from maskrcnn_trainer.publishing import set_building
from maskrcnn_trainer.publishing.published_files import UnpublishableResults
from maskrcnn_trainer.publishing.set_building import BuiltSet, build_set, refuse_too_large
from maskrcnn_trainer.publishing.snapshot import FileStamp, KnownFile, ResultsSnapshot, SnapshotFile, Snapshots

Keyed = Callable[[BuiltSet], PublishedSet]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "train").mkdir()
    return tmp_path / "train"


def taken(results: Path) -> ResultsSnapshot:
    snapshots = Snapshots(results, FINGERPRINT)
    snapshots.clear()
    return snapshots.take({})


def built(results: Path, before: PublishedSet | None = None, known: dict[str, KnownFile] | None = None) -> BuiltSet:
    return build_set(taken(results), FINGERPRINT, before=before, known=(known or {},))


def with_keys(found: BuiltSet) -> PublishedSet:
    files = tuple(replace(file, key=f"key of {file.path}") for file in found.published.files)
    return replace(found.published, files=files)


def test_new_files_are_uploaded_with_their_size_and_hash(results: Path) -> None:
    write_file(results, "model.step-1.tlt", "abc")
    found = built(results)
    assert found.changed == {"model.step-1.tlt"}
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found.published.files == (PublishedFile("model.step-1.tlt", "", 3, sha256),)


def test_known_file_is_not_read(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(results, "model.step-1.tlt", "abc")
    file = PublishedFile("model.step-1.tlt", "key", 3, "sha")
    stamp = FileStamp.of((results / "model.step-1.tlt").lstat())
    monkeypatch.setattr(set_building, "_hashed", None)
    found = built(results, known={"model.step-1.tlt": KnownFile(stamp, file)})
    assert (found.published.files, found.changed) == ((file,), frozenset())


def test_known_file_with_another_stamp_is_uploaded(results: Path) -> None:
    write_file(results, "model.step-1.tlt", "abc")
    file = PublishedFile("model.step-1.tlt", "key", 3, "sha")
    assert built(results, known={"model.step-1.tlt": KnownFile(FileStamp(1, 3, 1), file)}).changed


def test_file_with_the_content_of_the_set_before_keeps_its_object(results: Path) -> None:
    write_file(results, "model.step-1.tlt", "abc")
    before = with_keys(built(results))
    write_file(results, "model.step-1.tlt", "abc")
    found = built(results, before)
    assert (found.published, found.changed) == (before, frozenset())


def test_equal_content_under_another_path_is_uploaded(results: Path) -> None:
    write_file(results, "model.step-1.tlt", "abc")
    before = with_keys(built(results))
    write_file(results, "model.step-2.tlt", "abc")
    assert built(results, before).changed == {"model.step-2.tlt"}


def test_set_names_checkpoints_and_the_best(results: Path) -> None:
    for step in (1, 2):
        write_file(results, f"model.step-{step}.tlt", f"{step}")
    write_file(results, "evaluations.json", '{"1": {"mask_AP": 0.5}, "2": {"mask_AP": 0.4}}')
    published = built(results).published
    assert published.checkpoints == ("model.step-1.tlt", "model.step-2.tlt")
    assert published.best == "model.step-1.tlt"


def test_finished_task_has_a_result(results: Path) -> None:
    write_result(results)
    assert built(results).published.result == "result.json"


def test_unfinished_task_has_none(results: Path) -> None:
    write_file(results, "status.json", "")
    assert built(results).published.result is None


def test_result_without_one_of_its_files_is_not_a_result(results: Path) -> None:
    write_file(results, "labels/a\nb.json", "[]")
    write_result(results)
    assert built(results).published.result is None


def test_file_that_is_gone_is_an_error_of_the_file(results: Path) -> None:
    snapshot = ResultsSnapshot(results, (SnapshotFile("model.step-1.tlt", FileStamp(1, 1, 1)),))
    with pytest.raises(FileNotFoundError):
        build_set(snapshot, FINGERPRINT, before=None, known=())


def test_more_files_than_a_manifest_can_have_are_refused(results: Path) -> None:
    files = tuple(SnapshotFile(f"labels/{number}.json", FileStamp(1, 1, 1)) for number in range(200_001))
    with pytest.raises(UnpublishableResults, match="200,001 files"):
        build_set(ResultsSnapshot(results, files), FINGERPRINT, before=None, known=())


def large_set(length: int) -> PublishedSet:
    name = "n" * (length - 12)
    files = tuple(PublishedFile(f"labels/{name}{number:012d}", "", 1, "0" * 64) for number in range(150_000))
    return PublishedSet(FINGERPRINT, files)


def test_manifest_that_could_not_be_read_back_is_refused() -> None:
    with pytest.raises(UnpublishableResults, match="150,000 files"):
        refuse_too_large(large_set(200), KEYS, "aa")


def test_manifest_of_short_names_is_accepted() -> None:
    refuse_too_large(large_set(20), KEYS, "aa")


def test_file_of_another_node_is_named_with_its_key_and_replaces_the_one_here(results: Path) -> None:
    write_file(results, "logs/attempt-1.node-1.log", "earlier")
    write_file(results, "model.step-1.tlt", "abc")
    log = PublishedFile("logs/attempt-1.node-1.log", "key", 3, "sha")
    found = build_set(taken(results), FINGERPRINT, before=None, known=(), others=(log,))
    assert [file.path for file in found.published.files] == ["logs/attempt-1.node-1.log", "model.step-1.tlt"]
    assert found.published.files[0] == log
    assert found.changed == {"model.step-1.tlt"}
    assert set(found.stamps) == {"model.step-1.tlt"}
