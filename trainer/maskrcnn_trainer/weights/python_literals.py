"""Reader of the values in a Python source that is never executed, such as a config of MMDetection.

The source is parsed to a syntax tree, in which only literals, ``dict(...)`` with keywords, and numbers with a sign have
a value. Everything else (names, other calls, f-strings, operators) is `NOT_LITERAL`.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Iterable
from typing import Any, Final

LONGEST_SOURCE = 1 << 20
"""Limit in characters; MMDetection's configs have about 20,000."""

_DEEPEST = 50
"""Limit for nested values; MMDetection's configs have about 10 levels."""

_MOST_BITS = 1024
"""Limit for a whole number, as in `shared.yaml_reading`."""


class NotLiteral:
    """Value that is not a literal."""

    def __repr__(self) -> str:
        return "NOT_LITERAL"


NOT_LITERAL: Final = NotLiteral()


class UnreadableSource(ValueError):
    """Text that is not Python, too long, or nested too deeply."""


def read_assignments(source: str) -> dict[str, Any]:
    """Return the values that are assigned to plain names at the top level of a source, the last one of each name.

    Strings, numbers, booleans, None, lists, tuples, and dicts are read. A dict with keys that are not strings, or that
    is extended (``**other``), is read without them.

    Args:
        source: the text.

    Raises:
        UnreadableSource: it isn't Python, longer than a million characters, or nested too deeply.
    """
    values: dict[str, Any] = {}
    for statement in _parsed(source, "exec").body:  # type: ignore[attr-defined]  # ast.Module
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name):
                values[target.id] = _value(value, 0)
    return values


def read_literal(text: str) -> Any:
    """Return the value of a Python literal, such as ``(0.5, 1.0)``; `NOT_LITERAL` for any other text."""
    try:
        return _value(_parsed(text.strip(), "eval").body, 0)  # type: ignore[attr-defined]  # ast.Expression
    except UnreadableSource:
        return NOT_LITERAL


def _parsed(source: str, mode: str) -> ast.AST:
    if len(source) > LONGEST_SOURCE:
        raise UnreadableSource(f"it has {len(source):,} characters, more than {LONGEST_SOURCE:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings that Python will refuse one day
            return ast.parse(source, mode=mode)
    except SyntaxError as error:
        raise UnreadableSource(f"line {error.lineno or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnreadableSource(str(error) or "it is nested too deeply") from None


def _value(node: ast.expr, level: int) -> Any:  # noqa: PLR0911 - one case for each kind of literal
    if level > _DEEPEST:
        raise UnreadableSource(f"values are nested more than {_DEEPEST} levels deep")
    if isinstance(node, ast.Constant):
        return node.value if _is_plain(node.value) else NOT_LITERAL
    if isinstance(node, ast.List):
        return [_value(item, level + 1) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, level + 1) for item in node.elts)
    if isinstance(node, ast.Dict):
        return _entries(zip(node.keys, node.values, strict=True), level)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        keys = [None if one.arg is None else ast.Constant(one.arg) for one in node.keywords]
        return _entries(zip(keys, [one.value for one in node.keywords], strict=True), level)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _value(node.operand, level + 1)
        if type(number) in (int, float):
            return -number if isinstance(node.op, ast.USub) else number
    return NOT_LITERAL


def _entries(entries: Iterable[tuple[ast.expr | None, ast.expr]], level: int) -> dict[str, Any]:
    return {
        key.value: _value(value, level + 1)
        for key, value in entries
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _is_plain(value: object) -> bool:
    """Return whether a constant is a string, a boolean, None, or a finite number of usual size."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() <= _MOST_BITS
    return value is None or isinstance(value, str)
