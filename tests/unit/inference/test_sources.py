"""Images of a directory, and the names of their labels and their numbers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.inference.sources import find_images, image_ids


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_images_are_found_in_all_depths_and_any_case(tmp_path: Path) -> None:
    wanted = ["a.JPG", "b.jpeg", "c/d.PnG", "c/e/f.bmp", "c/e/g.webp", "h.tiff", "i.TIF"]
    touch(tmp_path, *wanted, "notes.txt", ".hidden.png", ".cache/x.png", "jpg", "x.jpg.txt", "out/old.png")
    found = find_images(tmp_path, exclude=[tmp_path / "out", tmp_path / "absent"])
    assert [image.name for image in found] == sorted(wanted)
    assert {image.name: image.label for image in found}["c/e/f.bmp"] == "c/e/f.json"
    assert all(image.path == tmp_path / image.name for image in found)
    assert [image.image_id for image in found] == list(range(1, 8))


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    for folder in ("images/a", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.jpg").touch()
    (tmp_path / "images" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "a" / "back").symlink_to(tmp_path / "images")
    assert [image.name for image in find_images(tmp_path / "images")] == ["a/1.jpg", "b/1.jpg"]
    (tmp_path / "link").symlink_to(tmp_path / "images")
    assert [image.name for image in find_images(tmp_path / "link")] == ["a/1.jpg", "b/1.jpg"]


def test_a_directory_below_that_may_not_be_read_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Check an unreadable subdirectory, as at the root of an ext4 volume; for the given directory it is an error."""
    touch(tmp_path, "a.jpg", "lost+found/b.jpg")
    listed = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused = [str(tmp_path / "lost+found")]
    assert [image.name for image in find_images(tmp_path)] == ["a.jpg"]
    assert "skipped 1 subdirectories that cannot be read, such as" in caplog.text
    refused.append(str(tmp_path))
    with pytest.raises(PermissionError):
        find_images(tmp_path)


def test_a_single_file_may_have_any_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "photo.raw")
    (only,) = find_images(tmp_path / "photo.raw")
    assert (only.path, only.name, only.label) == (tmp_path / "photo.raw", "photo.raw", "photo.json")


def test_images_of_one_stem_keep_a_label_each(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "A.bmp", "b.jpg", "c/a.jpg")
    assert {image.name: image.label for image in find_images(tmp_path)} == {
        "a.jpg": "a.jpg.json",
        "a.png": "a.png.json",
        "A.bmp": "A.bmp.json",
        "b.jpg": "b.json",
        "c/a.jpg": "c/a.json",
    }


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["000000000139.jpg", "val/000000000285.jpg"], [139, 285]),
        (["1.jpg", "01.jpg"], [1, 2]),
        (["7.jpg", "x.jpg"], [1, 2]),
        (["²³.jpg", "4.jpg"], [1, 2]),
        (["9" * 30 + ".jpg"], [1]),
    ],
)
def test_numbers_come_from_the_names_where_all_are_numbers(names: list[str], ids: list[int]) -> None:
    assert image_ids(names) == ids


def test_missing_path_and_directory_without_images_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "readme.txt")
    with pytest.raises(InvalidInput, match="contains no image"):
        find_images(tmp_path)
    with pytest.raises(InvalidInput, match="no such directory or file"):
        find_images(tmp_path / "absent")


def test_the_longer_name_of_one_label_is_not_the_shorter_of_another(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.jpg.jpg", "a.jpg.jpg.png"):
        (tmp_path / name).write_bytes(b"")
    labels = [image.label for image in find_images(tmp_path)]
    assert len(set(labels)) == 4
