"""Image names without a file, and hints at the file that was probably meant."""

from __future__ import annotations

import errno
import unicodedata
from pathlib import Path

import pytest

from maskrcnn_trainer.conversion.names import missing_files
from maskrcnn_trainer.data.coco import CocoImage

COMPOSED = unicodedata.normalize("NFC", "größe é.jpg")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def problem(folder: Path, there: str, name: str) -> str:
    path = folder / "data" / "images" / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return missing_files([CocoImage(7, name, 4, 3)], str(folder / "data" / "images")).get(7, "")


@pytest.mark.parametrize(
    ("there", "name", "reason"),
    [
        ("a/1.jpg", "a\\1.jpg", r"folders are separated by / and not by \\"),
        ("1.jpg", "C:\\data\\images\\1.jpg", r"folders are separated by / and not by \\"),
        ("a b.jpg", "a%20b.jpg", "the name must not be quoted as in a URL"),
        (COMPOSED, DECOMPOSED, "its letters are in Unicode form NFC on the disk and NFD in the annotations"),
        (DECOMPOSED, COMPOSED, "its letters are in Unicode form NFD on the disk and NFC in the annotations"),
        ("1.JPG", "1.jpg", "the names differ in upper and lower case"),
        ("sub/1.jpg", "Sub/1.jpg", "the names differ in upper and lower case"),
        ("1.jpg", "train/1.jpg", "the name is relative to --image_dir, without 'train'"),
        ("1.jpg", "/mnt/old/1.jpg", "the name is relative to --image_dir, without 'mnt/old'"),
        ("1.jpg", "images/1.jpg", "--image_dir {}/data would lead to it"),
        ("1.jpg", "data/images/1.jpg", "--image_dir {} would lead to it"),
        ("sub/1.jpg", "1.jpg", "--image_dir {}/data/images/sub has a file of this name"),
    ],
)
def test_file_that_was_probably_meant_is_named(tmp_path: Path, there: str, name: str, reason: str) -> None:
    found = problem(tmp_path, there, name)
    assert found.startswith(
        f"file_name {name!r}: no such file in {tmp_path}/data/images; {there!r} is probably meant: "
    )
    assert found.endswith(reason.replace("\\\\", "\\").format(tmp_path))


@pytest.mark.parametrize("name", ["2.jpg", "1.png", "sub", "\ud800/2.jpg", "x" * 300 + "/1", "1.jpg/1.jpg/2", "a\\.."])
def test_no_hint_if_no_file_is_similar(tmp_path: Path, name: str) -> None:
    assert problem(tmp_path, "1.jpg", name) == f"file_name {name!r}: no such file in {tmp_path}/data/images"


@pytest.mark.parametrize("name", ["a/1.jpg", "./a/1.jpg", "a/../a/1.jpg", "../images/a/1.jpg"])
def test_names_that_lead_to_a_file_are_right(tmp_path: Path, name: str) -> None:
    assert problem(tmp_path, "a/1.jpg", name) == ""


def test_no_hint_if_two_files_have_the_name(tmp_path: Path) -> None:
    problem(tmp_path, "a/1.jpg", "x")
    assert problem(tmp_path, "b/1.jpg", "1.jpg").endswith("images")


@pytest.mark.parametrize("name", ["1.jpg", "sub/1.jpg"])
def test_folder_that_may_not_be_listed_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(path: str) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("os.listdir", refuse)
    assert problem(tmp_path, "x", name) == ""


def test_very_long_name_is_shortened(tmp_path: Path) -> None:
    right = f"file_name {'a b/' * 100 + '...'!r}: no such file in {tmp_path}/data/images"
    assert problem(tmp_path, "1.jpg", "a b/" * 1000) == right
