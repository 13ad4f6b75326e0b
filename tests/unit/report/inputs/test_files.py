"""Bounded reading of files whose content may be damaged or hostile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from maskrcnn_trainer.report.inputs.files import (
    NotRecorded,
    Unreadable,
    number,
    numbers,
    one_sentence,
    read_bytes,
    read_json,
    read_object,
    text,
    texts,
    whole,
)


def test_file_of_the_largest_size_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"x" * 10)
    assert read_bytes(file, 10) == b"x" * 10
    with pytest.raises(Unreadable, match="has 10 bytes"):
        read_bytes(file, 9)


def test_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(Unreadable, match="not a plain file"):
        read_bytes(tmp_path / "pipe.json", 10)


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="directory"):
        read_bytes(tmp_path, 10)


@pytest.mark.parametrize("name", ["absent.json", "absent/x.json"])
def test_absent_file_is_not_recorded(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotRecorded):
        read_bytes(tmp_path / name, 10)


def test_path_with_a_null_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        read_bytes(tmp_path / "a\0b", 10)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_invalid_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Unreadable, match="isn't valid JSON"):
        read_json(tmp_path / "a.json", 1_000_000)


def test_object_is_required(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(Unreadable, match="isn't a JSON object"):
        read_object(tmp_path / "a.json", 100)


@pytest.mark.parametrize("value", [True, "1", None, [1], float("nan"), float("inf"), 10**400])
def test_other_values_are_not_numbers(value: Any) -> None:
    assert number(value) is None
    assert whole(value) is None


def test_whole_numbers_are_not_negative_and_have_no_fraction() -> None:
    assert (whole(3), whole(3.0), whole(3.5), whole(-1)) == (3, 3, None, None)


def test_long_texts_are_shortened() -> None:
    assert len(text("x" * 10_000) or "") == 2000
    assert (text(""), text(3)) == (None, None)


def test_members_of_other_types_are_left_out() -> None:
    assert numbers({"a": 1, "b": "x", "c": None}) == {"a": 1.0}
    assert texts({"a": 1, "b": "x"}) == {"b": "x"}
    assert numbers([1]) == texts("x") == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.json: is empty.", "a.json: is empty."),
        ("a.json: 2 problems:\n  b is 1\n  c is 2", "a.json: 2 problems: b is 1; c is 2."),
        ("a.json: 4 problems:\n  b\n  c.\n  d\n  e", "a.json: 4 problems: b; c; d; and others."),
        ("x" * 1000 + "\n" + "y" * 1000, "x" * 300 + " " + "y" * 300 + "."),
        ("", "ValueError."),
    ],
)
def test_problems_of_an_error_are_one_sentence(text: str, expected: str) -> None:
    assert one_sentence(ValueError(text)) == expected
