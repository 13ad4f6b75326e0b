"""Images that an evaluation saw: the file, and files that are damaged or of another program."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.errors import TryAgain
from maskrcnn_trainer.results.evaluated_images import (
    EvaluatedImage,
    EvaluatedImageList,
    begins_as_evaluated_images,
    read_evaluated_images,
    write_evaluated_images,
)
from maskrcnn_trainer.results.recorded import NotRecorded

FILE = "/data/val-00000-of-00001.tfrecord"
IMAGES = EvaluatedImageList(
    "0123abcd", "/data/val.json", [EvaluatedImage(17, FILE, 12), EvaluatedImage("b", FILE, 1234)]
)


def write(directory: Path, images: EvaluatedImageList = IMAGES) -> None:
    write_evaluated_images(directory, images, before_write=lambda: None)


def changed(**members: Any) -> str:
    return json.dumps(IMAGES.to_json() | members)


def test_images_are_read_as_they_were_written(tmp_path: Path) -> None:
    write(tmp_path)
    assert read_evaluated_images(tmp_path) == IMAGES
    assert json.loads((tmp_path / "images.json").read_text()) == {
        "version": 1,
        "evaluatedOn": "0123abcd",
        "annotations": "/data/val.json",
        "images": [{"id": 17, "file": FILE, "offset": 12}, {"id": "b", "file": FILE, "offset": 1234}],
    }


def test_files_of_a_local_workspace_are_recorded_as_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKRCNN_WORKSPACE", str(tmp_path))
    image = EvaluatedImage(1, str(tmp_path / "data" / "val.tfrecord"), 12)
    write(tmp_path, EvaluatedImageList("a", str(tmp_path / "val.json"), [image]))
    found = read_evaluated_images(tmp_path)
    assert isinstance(found, EvaluatedImageList)
    assert found.images[0].file == "/workspace/data/val.tfrecord"
    assert found.annotations == "/workspace/val.json"


def test_run_that_lost_its_directory_writes_no_images(tmp_path: Path) -> None:
    def taken_over() -> None:
        raise TryAgain("another run took over")

    with pytest.raises(TryAgain):
        write_evaluated_images(tmp_path, IMAGES, before_write=taken_over)
    assert list(tmp_path.iterdir()) == []


IMAGE = {"id": 1, "file": FILE, "offset": 12}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ("{}", "not of version 1"),
        (changed(version=2), "not of version 1"),
        (changed(images=None), "no images"),
        (changed(images=[]), "no images"),
        (changed(images={"id": 1}), "no images"),
        (changed(images=[1]), "not an object"),
        (changed(images=[IMAGE, IMAGE]), "twice"),
        (changed(images=[IMAGE | {"id": None}]), "no valid id"),
        (changed(images=[IMAGE | {"id": True}]), "no valid id"),
        (changed(images=[IMAGE | {"id": 2**60}]), "no valid id"),
        (changed(images=[IMAGE | {"id": [1]}]), "no valid id"),
        (changed(images=[IMAGE | {"id": "x" * 5000}]), "no valid id"),
        (changed(images=[IMAGE | {"id": "\ud800"}]), "no valid id"),
        (changed(images=[IMAGE | {"file": 3}]), "no valid file"),
        (changed(images=[IMAGE | {"file": "/a\0b"}]), "no valid file"),
        (changed(images=[IMAGE | {"offset": -1}]), "no valid offset"),
        (changed(images=[IMAGE | {"offset": 1.5}]), "no valid offset"),
        (changed(evaluatedOn=None), "no valid evaluatedOn"),
        (changed(annotations=["/data/val.json"]), "no valid annotations"),
    ],
)
def test_content_that_no_evaluation_writes_is_not_recorded(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "images.json").write_text(content)
    found = read_evaluated_images(tmp_path)
    assert isinstance(found, NotRecorded)
    assert found.reason.startswith("images.json ")
    assert reason in found.reason


def test_absent_images_are_not_recorded(tmp_path: Path) -> None:
    found = read_evaluated_images(tmp_path)
    assert isinstance(found, NotRecorded)
    assert "absent" in found.reason
    os.mkfifo(tmp_path / "images.json")
    assert isinstance(read_evaluated_images(tmp_path), NotRecorded)


def test_beginning_is_that_of_a_written_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert begins_as_evaluated_images((tmp_path / "images.json").read_bytes()[:64])
    assert begins_as_evaluated_images(b"\0" * 64), "a file whose content was lost"
    assert not begins_as_evaluated_images(b'{"images": [], "annotations": []}')
