"""Cleaning of text from other programs, so that JSON, logs, and the API server accept it."""

from __future__ import annotations

import re

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(value: object, limit: int) -> str:
    r"""Return at most ``limit`` characters of a text, each lone surrogate replaced by U+FFFD; empty for other types.

    JSON may escape a lone surrogate (``"\udce9"``), but UTF-8 has no bytes for it.
    """
    if not isinstance(value, str):
        return ""
    text = value if len(value) <= limit else value[:limit]
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def one_line(value: object, limit: int) -> str:
    """Return the text as :func:`clean` does, with whitespace and control characters collapsed to single spaces."""
    text = "".join(character if character.isprintable() else " " for character in clean(value, limit))
    return " ".join(text.split())
