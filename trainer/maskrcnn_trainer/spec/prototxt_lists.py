"""Lists in a prototxt: strings that hold Python literals, read with ``ast.literal_eval`` and checked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from maskrcnn_trainer.spec.errors import Path, Problem, shown

LIST_FIELDS: dict[str, tuple[type, str]] = {
    "image_size": (int, '"(832, 1344)"'),
    "freeze_blocks": (int, '"[0, 1]"'),
    "learning_rate_steps": (int, '"[60000, 80000]"'),
    "learning_rate_decay_levels": (float, '"[0.1, 0.01]"'),
    "bbox_reg_weights": (float, '"(10.0, 10.0, 5.0, 5.0)"'),
    "aspect_ratios": (float, '"[(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]"'),
    "scale_jitter": (float, '"[0.8, 1.25]"'),
}
"""Fields whose value is a string that holds a list: the type of its numbers, and an example."""


def literal_list(text: str, number: type) -> list[Any] | None:
    """Return the list that a string holds; None for an empty string and for "None".

    Args:
        text: a Python literal such as ``[60000, 80000]`` or ``(832, 1344)``; nothing in it is executed.
        number: int or float, the type of the list's numbers; 60000.0 is accepted as an int.

    Raises:
        ValueError: it holds anything other than numbers in lists.
    """
    if not text.strip():
        return None
    if len(text) > 10_000:
        raise ValueError("too long")
    try:
        value = ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise ValueError("not a list")
    return [_number(item, number) for item in value]


def _number(item: object, number: type) -> Any:
    if isinstance(item, list | tuple):
        return [_number(inner, number) for inner in item]
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise ValueError(f"{item!r} is not a number")
    return int(item) if number is int and isinstance(item, float) and item.is_integer() else item


def read_lists(raw: dict[str, Any], at: Path = ()) -> Iterator[Problem]:
    """Replace the strings that hold lists by lists, in place; remove those that cannot be read.

    Args:
        raw: the fields of a message by name, changed in place; messages in it are read too.
        at: path of the message in the spec.

    Yields:
        One problem for each string that cannot be read.
    """
    for name, value in list(raw.items()):
        if isinstance(value, dict):
            yield from read_lists(value, (*at, name))
        elif name in LIST_FIELDS:
            number, example = LIST_FIELDS[name]
            try:
                items = literal_list(value, number)
            except ValueError:
                kind = "whole numbers" if number is int else "numbers"
                yield Problem((*at, name), value, f"{shown(value)} is not a list of {kind}, such as {example}")
                items = None
            if items is None and name != "freeze_blocks":
                del raw[name]
            else:
                raw[name] = items or []
