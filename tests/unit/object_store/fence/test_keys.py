"""Tests of the keys below an experiment."""

from __future__ import annotations

import pytest
from tests.unit.object_store.fence.memory_store import KEYS

from maskrcnn_trainer.object_store.fence.keys import StepKeys, WrittenOnce, steps_in


def test_key_that_is_written_once_has_epoch_token_number_and_name() -> None:
    assert KEYS.written_once(3, "ab12", 7, "logs/a-b.txt") == "exp/train/o/3-ab12-7-a-b.txt"


@pytest.mark.parametrize("path", ["a b/ü?.h5", "x" * 1000, "日本", "..", "a/-"])
def test_key_of_any_path_is_parsed_as_one_of_the_step(path: str) -> None:
    parts = KEYS.parse(KEYS.written_once(3, "ab", 7, path))
    assert parts is not None
    assert (parts.epoch, parts.token, parts.number) == (3, "ab", 7)


def test_name_with_a_dash_is_parsed_whole() -> None:
    assert KEYS.parse("exp/train/o/3-ab-7-a-b") == WrittenOnce(3, "ab", 7, "a-b")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\n", "-a", "ü"])
def test_step_whose_name_no_key_can_contain_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="of the step"):
        StepKeys("exp", name)


def test_steps_are_those_with_a_pointer_or_objects_of_ours() -> None:
    keys = (
        "exp/b/run.json",
        "exp/a/o/1-aa-0-x",
        "exp/owner.json",
        "exp/foreign/x",
        "exp/../run.json",
        "other/c/run.json",
    )
    assert steps_in("exp", keys) == ("a", "b")
