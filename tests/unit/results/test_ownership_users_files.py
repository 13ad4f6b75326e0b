"""Files of the user in a results directory: it is refused, or they are kept unchanged."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.results.directories import (
    A,
    B,
    C,
    D,
    assert_refused,
    checkpoint,
    finish,
    folders,
    result,
    snapshot,
    start,
    write,
)

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.results.ownership import claim


@pytest.mark.parametrize("names", [("0.png", "1.png"), ("a/b/c.txt",), ("status.json", "z.csv"), ("model.step-1.tlt",)])
def test_a_directory_of_the_users_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    directory = tmp_path / "images"
    write(directory, *names)
    if "status.json" in names:
        (directory / "status.json").write_text('{"date":"11/28/2026"}')
    foreign = next(name for name in names if name != "status.json")
    for fingerprint in (A, B, C):
        assert_refused(directory, fingerprint, f"contains {foreign},", "move it elsewhere, or rename the step")


def test_results_of_maskrcnn_train_started_by_hand_are_the_users(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    write(directory, "status.json", "evaluations.json", "logs/tensorboard/events.out.tfevents.1.a")
    checkpoint(directory / "model.step-10.tlt", None)
    result(directory, None, model="model.step-10.tlt")
    assert_refused(directory, A, "evaluations.json")
    # also if a run of the operator has claimed the directory before
    mine = tmp_path / "mine"
    start(mine, A)
    result(mine, None)
    assert_refused(mine, B, "result.json")
    (mine / "result.json").unlink()
    checkpoint(mine / "model.step-5.tlt", A)
    checkpoint(mine / "model.step-6.tlt", None)
    assert_refused(mine, B, "model.step-6.tlt")
    (mine / "model.step-6.tlt").unlink()
    start(mine, B)
    assert (tmp_path / "mine.aaaaaaaa" / "model.step-5.tlt").exists()


def test_records_converted_by_hand_are_the_users(tmp_path: Path) -> None:
    directory = tmp_path / "convert"
    write(directory, "train-00000-of-00001.tfrecord")
    result(directory, None, records=f"{directory}/train-*-of-00001.tfrecord")
    assert_refused(directory, A, "result.json")
    # a second set of records
    ours = tmp_path / "ours"
    start(ours, A)
    write(ours, "train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord", "extra-00000-of-00001.tfrecord")
    result(ours, A, records="/workspace/raw/ours/train-*-of-00002.tfrecord")
    assert_refused(ours, B, "extra-00000-of-00001.tfrecord")
    (ours / "extra-00000-of-00001.tfrecord").unlink()
    start(ours, B)


@pytest.mark.parametrize(
    "name", ["notes.txt", "model.onnx.bak", "images_annotated/.DS_Store", "sub/run.json", "labels.json", "lost/found"]
)
def test_one_file_of_the_users_keeps_results_where_they_are(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "train"
    start(directory, A)
    write(directory, "model.step-1.tlt", name)
    assert_refused(directory, B, f"contains {name},")
    start(directory, A)  # nothing has to be moved
    assert (directory / name).exists()


def test_unclaimed_directory_without_results_is_claimed(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    write(directory, "logs/attempt-1.log", ".run.json.12.partial", ".train.convert-abcd1234/lock")
    (directory / "status.json").write_text('{"date":"11/28/2026"}')
    write(directory, ".nfs0001", "lost+found/x", ".snapshot/hourly/0.png")
    before = snapshot(directory)
    claim(directory, experiment_uid="uid", attempt=1, fingerprint=A)
    after = snapshot(directory)
    assert after.pop("run.json")
    assert after == before


@pytest.mark.parametrize("content", ["{}", '{"lr": 0.1}', "[]", '"text"'])
def test_a_run_file_of_another_program_is_the_users(tmp_path: Path, content: str) -> None:
    directory = tmp_path / "train"
    directory.mkdir()
    (directory / "run.json").write_text(content)
    assert_refused(directory, A, "run.json")


@pytest.mark.parametrize("name", ["run.json", "model.step-1.tlt", "images_annotated", "status.json"])
def test_a_link_is_a_file_of_the_users(tmp_path: Path, name: str) -> None:
    write(tmp_path / "raw", "0.png")
    directory = tmp_path / "train"
    start(directory, A)
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(tmp_path / "raw")
    assert_refused(directory, B, name)


def test_a_results_directory_that_is_a_link_is_claimed_but_never_moved(tmp_path: Path) -> None:
    other = tmp_path / "other"
    write(other / "full", "0.png")
    (other / "empty").mkdir()
    home = tmp_path / "nuclei"
    home.mkdir()
    (home / "train").symlink_to(other / "full")
    assert_refused(home / "train", A, "0.png")
    (home / "train").unlink()
    (home / "train").symlink_to(other / "empty")
    start(home / "train", A)
    start(home / "train", A)
    assert (other / "empty" / "run.json").exists()
    assert_refused(home / "train", B, "is a link")
    (home / "train").unlink()
    (home / "train").symlink_to(other / "absent")
    assert_refused(home / "train", A, "broken link")
    write(home, "file")
    assert_refused(home / "file", A)


def test_link_next_to_the_directory_is_never_followed(tmp_path: Path) -> None:
    start(tmp_path / "other", A)
    (tmp_path / "train.aaaaaaaa").symlink_to(tmp_path / "other")
    for fingerprint in (A, B, C, D):
        start(tmp_path / "train", fingerprint)
    assert (tmp_path / "other" / "run.json").exists()
    assert (tmp_path / "train.aaaaaaaa").is_symlink()


def test_older_results_with_a_file_of_the_users_are_kept_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "train"
    finish(directory, A)
    finish(directory, B)
    write(tmp_path / "train.aaaaaaaa", "model.step-1.tlt", "why-this-is-the-best.md")
    before = snapshot(tmp_path / "train.aaaaaaaa")
    for fingerprint in (C, D):
        finish(directory, fingerprint)
    assert snapshot(tmp_path / "train.aaaaaaaa") == before
    assert "why-this-is-the-best.md" in caplog.text
    assert not (tmp_path / "train.bbbbbbbb").exists()
    # it would have to be moved back
    assert_refused(directory.with_name("train"), A, "why-this-is-the-best.md")


def test_damaged_results_with_a_file_of_the_users_are_refused(tmp_path: Path) -> None:
    directory = tmp_path / "train"
    write(directory, "run.json", "notes.txt")
    assert_refused(directory, A, "notes.txt")


def test_images_that_were_added_to_those_of_an_inference_are_the_users(tmp_path: Path) -> None:
    directory = tmp_path / "infer"
    finish(directory, A)
    write(directory, "images_annotated/a.png", "images_annotated/sub/b.webp.png", "predictions.json")
    for label in ("a.json", "sub/b.json"):
        (directory / "labels" / label).parent.mkdir(parents=True, exist_ok=True)
        (directory / "labels" / label).write_text("[]")
    result(directory, A, images_annotated=str(directory / "images_annotated"))
    write(directory, "images_annotated/mine.png")
    assert_refused(directory, B, "images_annotated/mine.png")
    (directory / "images_annotated" / "mine.png").unlink()
    (directory / "labels" / "coco.json").write_text('{"images": []}')
    assert_refused(directory, B, "labels/coco.json")
    (directory / "labels" / "coco.json").unlink()
    finish(directory, B)
    finish(directory, C)
    assert sorted(folders(tmp_path)) == ["infer", "infer.bbbbbbbb"]


Prepare = Callable[[Path], None]


def _raw_images(directory: Path) -> None:
    write(directory, "0.png", "1.png", "below/2.png")


def _annotations(directory: Path) -> None:
    write(directory, "train.json")


def _link_to_images(directory: Path) -> None:
    _raw_images(directory.parent.parent / "elsewhere")
    directory.symlink_to(directory.parent.parent / "elsewhere")


def _links_in_the_directory(directory: Path) -> None:
    _raw_images(directory.parent.parent / "elsewhere")
    directory.mkdir(parents=True)
    (directory / "0.png").symlink_to(directory.parent.parent / "elsewhere" / "0.png")


def _hand_made_archive(directory: Path) -> None:
    directory.mkdir(parents=True)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("0.png", b"raw")
    (directory / "model.tlt").write_bytes(content.getvalue())


def _results_of_a_removed_step(directory: Path) -> None:
    start(directory, D)
    write(directory, "model.step-9.tlt", "notes.txt")


@pytest.mark.parametrize(
    "prepare",
    [
        _raw_images,
        _annotations,
        _link_to_images,
        _links_in_the_directory,
        _hand_made_archive,
        _results_of_a_removed_step,
    ],
)
@pytest.mark.parametrize("name", ["nuclei/images", "raw/images", "nuclei/train"])
def test_no_file_of_the_users_is_gone_after_three_edits(
    tmp_path: Path, name: str, prepare: Prepare, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="maskrcnn_trainer")
    directory = tmp_path / name
    directory.parent.mkdir(parents=True)
    prepare(directory)
    before = snapshot(tmp_path)
    task = ("dataset_convert", "-i", str(directory), "-a", f"{directory}/train.json", "-o", str(directory))
    for fingerprint in (A, B, C):
        with pytest.raises(InvalidInput):
            claim(directory, experiment_uid="uid", attempt=1, fingerprint=fingerprint, task=task)
        assert snapshot(tmp_path) == before
