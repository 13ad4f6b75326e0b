"""Tests of names on the command line."""

from __future__ import annotations

import pytest

from maskrcnn_trainer.artifacts.names import ArtifactName, parse_name, printable
from maskrcnn_trainer.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("exp", ArtifactName("exp")),
        ("exp/train", ArtifactName("exp", "train")),
        ("exp/train/result.json", ArtifactName("exp", "train", "result.json")),
        ("exp/train/a/b c", ArtifactName("exp", "train", "a/b c")),
    ],
)
def test_name_has_up_to_three_parts(text: str, name: ArtifactName) -> None:
    assert parse_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    "text",
    ["", "/", "exp//", "/train", "exp//x", "../x", "exp/..", "exp/train//", "exp/train/../x", "exp/train//x", "é"],
)
def test_names_that_leave_their_place_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="NAME"):
        parse_name(text)


@pytest.mark.parametrize("text", ["exp/", "exp/train/", "exp/train/labels/"])
def test_slash_of_a_completion_is_accepted(text: str) -> None:
    assert parse_name(text) == parse_name(text[:-1])


@pytest.mark.parametrize(("path", "selected"), [("a", True), ("a/b", True), ("ab", False), ("b", False)])
def test_path_selects_itself_and_all_below_it(path: str, selected: bool) -> None:
    assert ArtifactName("exp", "train", "a").selects(path) is selected


def test_texts_of_a_store_are_made_printable_and_short() -> None:
    assert printable("\x1b[2J\u202e\n") == "\\x1b[2J\\u202e\\n"
    assert len(printable("x" * 1000)) == 200
    assert printable("größe") == "größe"
