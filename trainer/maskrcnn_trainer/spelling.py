"""Spelling of fields and flags in messages, as the user writes them.

Messages in the code have camelCase field names, as in a manifest. The reader of a spec file calls :func:`use_names`;
log lines and errors that end a task pass through :func:`as_written`, so that a message about a prototxt has
``freeze_bn``. Flags have hyphens (``--num-shards``), as in the help, or underscores if the command line has any. Inputs
by URL are read from copies on this machine, whose paths become URLs again (:func:`use_urls`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_NAME = re.compile(r"""(?<![\w./"'-])[a-z]\w*(?:\.[a-z]\w*)*(?![\w/"'-])""")
"""Name, with or without dots, that isn't in quotes, nor part of a path, a file name, or a longer word."""


_FLAG = re.compile(r"(?<![\w/-])--[a-z]+(?:[_-][a-z]+)+(?![\w-])")


class _Names:
    in_use: Mapping[str, str] = {}
    flag_separator = "-"
    urls: Mapping[str, str] = {}


def use_flags_of(arguments: Sequence[str]) -> None:
    """Set the spelling of flags in messages: with underscores if a flag on the command line has them."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("--")]
    _Names.flag_separator = "_" if any("_" in flag for flag in flags) else "-"


def use_names(names: Mapping[str, str]) -> None:
    """Set the spelling of fields in messages of this process.

    Args:
        names: the name of every field in the user's file, by its camelCase name; empty: all are in camelCase.
    """
    _Names.in_use = dict(names)


def use_urls(urls: Mapping[str, str]) -> None:
    """Set the URLs of inputs in messages and records of this process.

    Args:
        urls: URL of the place that each directory is a copy of, by the absolute path of the directory.
    """
    _Names.urls = dict(urls)


def as_written(text: str) -> str:
    """Return a message with fields, flags, and inputs spelled as the user writes them."""
    separator = _Names.flag_separator
    flags = _FLAG.sub(lambda flag: "--" + re.sub("[_-]", separator, flag[0][2:]), with_urls(text))
    return renamed(flags, _Names.in_use)


def with_urls(text: str) -> str:
    """Return a text in which the URLs of inputs replace the paths of their copies."""
    for directory, url in _Names.urls.items():
        if directory in text:
            text = re.sub(rf"{re.escape(directory)}(?![\w.-])", lambda _, url=url: url, text)  # type: ignore[misc]
    return text


def renamed(text: str, names: Mapping[str, str]) -> str:
    """Return a text with the keys of ``names`` replaced by their values, also in dotted names that consist of them."""
    if not names:
        return text

    def replaced(word: re.Match[str]) -> str:
        parts = word[0].split(".")
        return ".".join(names[part] for part in parts) if all(part in names for part in parts) else word[0]

    return _NAME.sub(replaced, text)
