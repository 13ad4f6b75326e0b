"""Values in a Python source, which is parsed and never executed."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from maskrcnn_trainer.weights.python_literals import (
    LONGEST_SOURCE,
    NOT_LITERAL,
    UnreadableSource,
    read_assignments,
    read_literal,
)


def test_literals_and_dict_calls_are_read() -> None:
    source = """
# a comment
import os
a = dict(type='X', scale=-1.5, on=True, none=None, items=[1, (2, +3)], inner={'k': "v", 1: 'not a string'})
b: int = 4
c = d = 'last'
a.attribute = 5
x, y = 1, 2
def f():
    hidden = 1
"""
    inner = {"k": "v"}
    assert read_assignments(source) == {
        "a": {"type": "X", "scale": -1.5, "on": True, "none": None, "items": [1, (2, 3)], "inner": inner},
        "b": 4,
        "c": "last",
        "d": "last",
    }


@pytest.mark.parametrize(
    "expression",
    [
        "name",
        "name.attribute",
        "f()",
        "dict([('a', 1)])",
        "list(a=1)",
        "__import__('os').system('true')",
        "f'{1}'",
        "1 + 1",
        "-'text'",
        "not True",
        "-True",
        "[i for i in (1, 2)]",
        "lambda: 1",
        "1 if True else 2",
        "(lambda: 1)()",
        "{1, 2}",
        "...",
        "1j",
        "b'bytes'",
        "1e999",
        f"{1 << 1025}",
        "(n := 1)",
    ],
)
def test_everything_else_is_unknown(expression: str) -> None:
    assert read_assignments(f"x = {expression}") == {"x": NOT_LITERAL}


def test_part_of_a_value_may_be_unknown() -> None:
    assert read_assignments("x = dict(a=1, b=name, **other)") == {"x": {"a": 1, "b": NOT_LITERAL}}


def test_nothing_is_executed(tmp_path: Path) -> None:
    for source in (
        f"x = open({str(tmp_path / 'a')!r}, 'w')",
        f"from pathlib import Path\nPath({str(tmp_path / 'a')!r}).touch()\nx = 1",
        f"x = dict(a=__import__('os').mkdir({str(tmp_path / 'a')!r}))",
        f'x = f"{{open({str(tmp_path / "a")!r}, chr(119))}}"',
    ):
        assert set(read_assignments(source)) == {"x"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = (",
        "x = 1\0",
        "x = '\ud800'",
        "x = " + "9" * 5000,
        "x = " + "[" * 100_000,
        "x = " + "[" * 150 + "]" * 150,
        "x = " + "dict(a=" * 60 + "1" + ")" * 60,
        "x = " + "-" * 200_000 + "1",
        "x = a" + ".b" * 200_000,
        "x = 1" + "+1" * 200_000,
        "x = f" + "()" * 200_000,
        "x = " + "not " * 100_000 + "1",
        "x = " + "lambda: " * 100_000 + "1",
        "x = " + "1 if 1 else " * 80_000 + "1",
        "if 1: pass\n" + "elif 1: pass\n" * 50_000,
        "#" * (LONGEST_SOURCE + 1),
    ],
    ids=range(16),
)
def test_hostile_text_is_refused(source: str) -> None:
    with pytest.raises(UnreadableSource):
        read_assignments(source)


def test_escapes_that_python_will_refuse_are_read_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_assignments(r"x = '\d'") == {"x": r"\d"}


def test_literal_in_a_text_is_read() -> None:
    assert read_literal(" (640, 672) ") == (640, 672)
    assert read_literal("not a literal at all") is NOT_LITERAL
    assert read_literal("os.system") is NOT_LITERAL
