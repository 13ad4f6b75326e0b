"""Positions of the fields of a protobuf text message, to report an error of one field and read the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      |(?P<word>[A-Za-z0-9_.+\-]+)
      |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)

MAX_DEPTH = 32


@dataclass(frozen=True)
class Occurrence:
    """A field in the text.

    Attributes:
        path: the names of the messages around it, then its own.
        start, end: offsets of the field with its value.
        value_start: offset of its value (for a message, of the opening brace).
    """

    path: tuple[str, ...]
    start: int
    end: int
    value_start: int


@dataclass(frozen=True)
class Token:
    """A piece of the text: a ``string`` in quotes, a ``word`` (name, number, constant) or a ``mark``."""

    kind: str
    text: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of a text without white space and comments."""
    return [
        Token(str(match.lastgroup), match[0], match.start(), match.end())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "space"
    ]


def occurrences(text: str) -> list[Occurrence]:
    """Return all fields of a text, outer ones before inner ones; as many as can be recognized if it is malformed."""
    tokens = tokens_of(text)
    return sorted(_fields(tokens, 0, ())[0], key=lambda item: (item.start, -item.end))


def _fields(tokens: list[Token], at: int, outer: tuple[str, ...]) -> tuple[list[Occurrence], int]:
    """Return the fields from token ``at`` to the closing brace of the message, and the position of that brace."""
    found: list[Occurrence] = []
    if len(outer) > MAX_DEPTH:
        return found, len(tokens)
    while at < len(tokens) and tokens[at].text not in ("}", ">"):
        name = tokens[at]
        at += 1
        if name.kind != "word":
            continue
        if at < len(tokens) and tokens[at].text == ":":
            at += 1
        if at >= len(tokens):
            break
        value, path = tokens[at], (*outer, name.text)
        if value.text in ("{", "<"):
            inside, at = _fields(tokens, at + 1, path)
            found += inside
            at += 1
        else:
            at = _after_plain_value(tokens, at)
        last = tokens[min(at, len(tokens)) - 1]
        found.append(Occurrence(path, name.start, last.end, value.start))
    return found, at


def _after_plain_value(tokens: list[Token], at: int) -> int:
    """Return the position after a list, a string of one or more parts, or a word."""
    if tokens[at].text == "[":
        closing = (place for place in range(at, len(tokens)) if tokens[place].text == "]")
        return next(closing, len(tokens)) + 1
    if tokens[at].kind == "string":
        return next((place for place in range(at, len(tokens)) if tokens[place].kind != "string"), len(tokens))
    return at if tokens[at].text in ("}", ">") else at + 1


def at_position(found: list[Occurrence], offset: int) -> Occurrence | None:
    """Return the innermost field that covers an offset, or None."""
    covering = [item for item in found if item.start <= offset < item.end]
    return min(covering, key=lambda item: item.end - item.start, default=None)


def blanked(text: str, start: int, end: int) -> str:
    """Return the text with spaces between two offsets; line ends are kept, so other offsets stay the same."""
    return text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]


def repeated(found: list[Occurrence]) -> Iterator[tuple[str, ...]]:
    """Yield the paths that occur more than once."""
    counts = Counter(item.path for item in found)
    yield from (path for path, count in counts.items() if count > 1)
