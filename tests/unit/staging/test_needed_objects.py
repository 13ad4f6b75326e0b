"""Objects that a URL or a pattern names, and the path by which a task finds them."""

from __future__ import annotations

import glob
from pathlib import Path

import pytest
from tests.unit.object_store.clients import client_of
from tests.unit.object_store.stub_server import serving

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.object_url import parse_pattern, parse_url
from maskrcnn_trainer.spec.url_fields import InputKind
from maskrcnn_trainer.staging.needed_objects import NamedObjects, objects_at, objects_of_pattern

OBJECTS = {
    "raw/images/a.jpg": b"a",
    "raw/images/deep/b.png": b"b",
    "raw/images/readme.txt": b"t",
    "raw/images/": b"",
    "raw/train.json": b"{}",
    "records/train-0-of-2.tfrecord": b"0",
    "records/train-1-of-2.tfrecord": b"1",
    "records/val-0-of-1.tfrecord": b"2",
    "records/old/train-0-of-1.tfrecord": b"3",
    "records/a*b": b"4",
}


def at(tmp_path: Path, url: str, kind: InputKind, **options: object) -> NamedObjects:
    with serving(b=dict(OBJECTS)) as server, client_of(server, tmp_path) as client:
        return objects_at(parse_url(url, "f"), kind, client, "store", field="f", **options)  # type: ignore[arg-type]


def of_pattern(tmp_path: Path, text: str) -> NamedObjects:
    with serving(b=dict(OBJECTS)) as server, client_of(server, tmp_path) as client:
        return objects_of_pattern(parse_pattern(text, "f"), client, "store", field="f")


def places(named: NamedObjects) -> list[str]:
    return sorted(one.place for one in named.objects)


def test_file_is_found_under_its_own_name(tmp_path: Path) -> None:
    named = at(tmp_path, "s3://b/raw/train.json", InputKind.FILE)
    assert (places(named), named.path) == (["train.json"], "train.json")


def test_directory_has_what_the_task_reads_without_the_marker_of_the_folder(tmp_path: Path) -> None:
    named = at(tmp_path, "s3://b/raw/images", InputKind.DIRECTORY)
    assert (places(named), named.path) == (["a.jpg", "deep/b.png", "readme.txt"], "")
    pictures = at(
        tmp_path, "s3://b/raw/images", InputKind.DIRECTORY, is_read=lambda place: place.endswith((".jpg", ".png"))
    )
    assert places(pictures) == ["a.jpg", "deep/b.png"]


def test_input_that_may_be_both_is_looked_up_first(tmp_path: Path) -> None:
    kind = InputKind.FILE_OR_DIRECTORY
    assert at(tmp_path, "s3://b/raw/images/a.jpg", kind).path == "a.jpg"
    assert places(at(tmp_path, "s3://b/raw/images", kind)) == ["a.jpg", "deep/b.png", "readme.txt"]


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("s3://b/raw/absent.json", InputKind.FILE, "f: s3://b/raw/absent.json does not exist"),
        ("s3://b/raw/imag", InputKind.DIRECTORY, "f: s3://b/raw/imag has no objects below it"),
        ("s3://b/raw/absent", InputKind.FILE_OR_DIRECTORY, "f: s3://b/raw/absent has no objects below it"),
    ],
)
def test_absent_inputs_are_refused_by_url(tmp_path: Path, url: str, kind: InputKind, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        at(tmp_path, url, kind)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("s3://b/records/train-*", ["train-0-of-2.tfrecord", "train-1-of-2.tfrecord"]),
        ("s3://b/records/*/train-?-of-?.tfrecord", ["old/train-0-of-1.tfrecord"]),
        ("s3://b/records/val-0-of-1.tfrecord", ["val-0-of-1.tfrecord"]),
        ("s3://b/records/test-*", []),
        ("s3://b/records/absent", []),
    ],
)
def test_pattern_finds_the_same_objects_as_files(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    named = of_pattern(tmp_path, pattern)
    assert places(named) == expected
    directory = tmp_path / "staged"
    for one in named.objects:
        (directory / one.place).parent.mkdir(parents=True, exist_ok=True)
        (directory / one.place).touch()
    assert sorted(glob.glob(named.path, root_dir=directory)) == expected  # noqa: PTH207 - as the task reads it


def test_name_with_a_wildcard_is_a_literal_in_the_path_of_a_pattern(tmp_path: Path) -> None:
    with serving(b=dict(OBJECTS)) as server, client_of(server, tmp_path) as client:
        pattern = parse_pattern("s3://b/records/a[*]b", "f")
        named = objects_of_pattern(pattern, client, "store", field="f")
        assert places(named) == ["a*b"]
