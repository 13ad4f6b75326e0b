"""Names of fields and flags in messages, as the user writes them.

Messages name fields in camelCase, as a manifest has them. The reader of a spec file calls :func:`use_names`; log lines
and the errors that end a task pass through :func:`as_written`, so that a prototxt's user reads ``freeze_bn``. Flags
have hyphens (``--num-shards``), as in the help, or underscores where the command line has any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_NAME = re.compile(r"""(?<![\w./"'-])[a-z]\w*(?:\.[a-z]\w*)*(?![\w/"'-])""")
"""A name, dotted or not, that isn't in quotes, nor part of a path, a file's name, or a longer word."""


_FLAG = re.compile(r"(?<![\w/-])--[a-z]+(?:[_-][a-z]+)+(?![\w-])")


class _Names:
    in_use: Mapping[str, str] = {}
    flag_separator = "-"


def use_flags_of(arguments: Sequence[str]) -> None:
    """Set how flags are written from here on: with underscores where one of the command line's flags has them."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    _Names.flag_separator = "_" if any("_" in flag for flag in flags) else "-"


def use_names(names: Mapping[str, str]) -> None:
    """Set how fields are written from here on in this process.

    Args:
        names: the name in the user's file of every field, by the camelCase name; empty: all are in camelCase.
    """
    _Names.in_use = dict(names)


def as_written(text: str) -> str:
    """Return a message with the names of fields and flags as the user writes them."""
    separator = _Names.flag_separator
    flags = _FLAG.sub(lambda flag: "--" + re.sub("[_-]", separator, flag[0][2:]), text)
    return renamed(flags, _Names.in_use)


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a text in which the keys of ``names`` are replaced, also in dotted names that consist of them."""
    if not names:
        return text

    def replaced(word: re.Match[str]) -> str:
        parts = word[0].split(".")
        return ".".join(names[part] for part in parts) if all(part in names for part in parts) else word[0]

    return _NAME.sub(replaced, text)
