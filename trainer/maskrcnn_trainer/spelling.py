"""Field names in messages, as the user's spec file writes them.

Messages name fields in camelCase, as a manifest has them. The reader of a spec file calls :func:`use_names`; log lines
and the errors that end a task pass through :func:`as_written`, so that a prototxt's user reads ``freeze_bn``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"""(?<![\w./"'-])[a-z]\w*(?:\.[a-z]\w*)*(?![\w/"'-])""")
"""A name, dotted or not, that isn't in quotes, nor part of a path, a file's name, or a longer word."""


class _Names:
    in_use: Mapping[str, str] = {}


def use_names(names: Mapping[str, str]) -> None:
    """Set how fields are written from here on in this process.

    Args:
        names: the name in the user's file of every field, by the camelCase name; empty: all are in camelCase.
    """
    _Names.in_use = dict(names)


def as_written(text: str) -> str:
    """Return a message with its field names as the user's file writes them."""
    return renamed(text, _Names.in_use)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a text in which the keys of ``names`` are replaced, also in dotted names that consist of them."""
    if not names:
        return text

    def replaced(word: re.Match[str]) -> str:
        parts = word[0].split(".")
        return ".".join(names[part] for part in parts) if all(part in names for part in parts) else word[0]

    return _NAME.sub(replaced, text)
