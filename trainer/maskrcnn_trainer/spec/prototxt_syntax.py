"""Syntax check of a protobuf text message: braces, quotes, colons, and values of more than one token.

The parser of protobuf reports such a fault where it stops, which is often at a valid field much later in the text. This
check runs first, so the parser only has to refuse the name or the value of a single field.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from google.protobuf import text_encoding  # type: ignore[attr-defined]  # the stubs lack this module

from maskrcnn_trainer.spec.prototxt_text import MAX_DEPTH, Token, tokens_of

FieldKind = Literal["message", "value"]
FieldPath = tuple[str, ...]

_CLOSING = {"{": "}", "<": ">"}
_QUOTES = ("'", '"')
_NAMED = 4
"""Maximum number of unclosed messages that an error names."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Fault:
    """Syntax fault.

    Attributes:
        path: the field; empty if the fault is outside of all fields.
        start, end: offsets of the fault; of the whole field if the rest of the text can be read without it.
        words: the problem; empty for a value that is invalid for every field, such as ``0,9``.
        value: that value, as written in the text.
        fatal: whether the rest of the text cannot be read.
    """

    path: FieldPath
    start: int
    end: int
    words: str = ""
    value: str = ""
    fatal: bool = False


class _Fatal(Exception):
    def __init__(self, start: int, words: str, path: FieldPath = ()) -> None:
        super().__init__(words)
        self.fault = Fault(path, start, start, words, fatal=True)


@dataclass(frozen=True)
class _Message:
    path: FieldPath
    mark: Token
    name: Token


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Return the line and the column of an offset, both counted from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def syntax_faults(text: str, kind_of: Callable[[FieldPath], FieldKind | None]) -> list[Fault]:
    """Return the syntax faults of a text: all malformed fields, or the fatal fault alone.

    Args:
        text: the protobuf text.
        kind_of: returns whether a path is a message or a value; None for an unknown field.
    """
    scanner = _Scanner(text, kind_of)
    try:
        scanner.scan()
    except _Fatal as fatal:
        return [fatal.fault]
    return scanner.faults


class _Scanner:
    def __init__(self, text: str, kind_of: Callable[[FieldPath], FieldKind | None]) -> None:
        self.text, self.kind_of = text, kind_of
        self.tokens = tokens_of(text)
        self.at = 0
        self.open: list[_Message] = []
        self.faults: list[Fault] = []
        self.stray: Token | None = None

    def scan(self) -> None:
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.text in _CLOSING.values():
                self._close(token)
            elif token.kind == "word":
                self._field(token)
            else:
                raise _Fatal(token.start, self._no_name(token))
        if self.open:
            self._refuse_open()

    @property
    def _outer(self) -> FieldPath:
        return self.open[-1].path if self.open else ()

    def _peek(self, ahead: int = 0) -> Token | None:
        position = self.at + ahead
        return self.tokens[position] if position < len(self.tokens) else None

    def _text(self, ahead: int = 0) -> str:
        token = self._peek(ahead)
        return token.text if token is not None else ""

    def _line(self, token: Token) -> int:
        return line_and_column(self.text, token.start)[0]

    def _no_name(self, token: Token) -> str:
        if token.text in _QUOTES:
            return "the string that starts here has no closing quote"
        if token.kind == "string":
            return f"expected a field name without quotes, found {token.text}"
        return f"expected a field name, found {token.text if token.text.isprintable() else repr(token.text)}"

    def _too_deep(self) -> str:
        outermost = self.open[0]
        return (
            f"messages are nested more than {MAX_DEPTH} levels deep; probably the {_CLOSING[outermost.mark.text]} of "
            f"{outermost.path[-1]} in line {self._line(outermost.name)}, or of a message in it, is missing"
        )

    def _close(self, token: Token) -> None:
        if not self.open:
            raise _Fatal(token.start, f"unmatched {token.text}; remove it, or add the missing opening brace")
        message = self.open[-1]
        expected = _CLOSING[message.mark.text]
        if token.text != expected:
            line = self._line(token)
            raise _Fatal(
                message.name.start,
                f"is not closed: {expected} is missing before the {token.text} in line {line}",
                message.path,
            )
        self.open.pop()
        self.at += 1
        self._separator()

    def _separator(self) -> None:
        if self._text() in (",", ";"):
            self.at += 1

    def _refuse_open(self) -> None:
        """Raise for the messages that are open at the end of the text."""
        message = self.open[0]
        braces = " and ".join(f"a {_CLOSING[item.mark.text]}" for item in reversed(self.open))
        inner = "".join(
            f"; neither is {item.path[-1]}, opened in line {self._line(item.name)}" for item in self.open[1:_NAMED]
        )
        if len(self.open) > _NAMED:
            more = len(self.open) - _NAMED
            inner += f"; {more} more {'is' if more == 1 else 'are'} open"
            braces = f"{len(self.open)} closing braces"
        where = "at the end of the file"
        if self.stray is not None and len(self.open) == 1:
            where = f"probably before {self.stray.text} in line {self._line(self.stray)}"
        verb = "is" if len(self.open) == 1 else "are"
        raise _Fatal(message.name.start, f"is not closed{inner}: {braces} {verb} missing, {where}", message.path)

    def _field(self, name: Token) -> None:
        path = (*self._outer, name.text)
        if not self._begins_field():
            raise _Fatal(name.start, self._no_name(name))
        self._note_stray(name, path)
        self.at += 1
        colon = self._text() if self._text() in (":", "=") else ""
        self.at += len(colon)
        value = self._peek()
        if value is None:
            if self.open:
                self._refuse_open()
            raise _Fatal(name.start, "has no value; the file ends here", path)
        if value.text in _CLOSING:
            if colon == "=":
                raise _Fatal(name.start, f"has = before {value.text}; remove the =", path)
            if len(self.open) == MAX_DEPTH:
                raise _Fatal(name.start, self._too_deep())
            self.open.append(_Message(path, value, name))
            self.at += 1
        elif self._is_missing():
            if self.kind_of(path) == "message":
                raise _Fatal(name.start, "must be followed by an opening {", path)
            self.faults.append(Fault(path, name.start, self.tokens[self.at - 1].end, "has no value"))
        else:
            self._plain_value(name, path, colon)

    def _begins_field(self) -> bool:
        """Return whether the current token is probably the name of a field, judging by the next one."""
        token = self._peek()
        if token is None or token.kind != "word":
            return False
        if self._text(1) in (":", "=", *_CLOSING):
            return True
        return _NAME.fullmatch(token.text) is not None

    def _note_stray(self, name: Token, path: FieldPath) -> None:
        """Store the first field that belongs in an outer message: a brace is probably missing before it."""
        outer = self._outer
        if self.stray is None and outer and self.kind_of(path) is None:
            further_out = ((*outer[:depth], name.text) for depth in range(len(outer)))
            if any(self.kind_of(candidate) is not None for candidate in further_out):
                self.stray = name

    def _is_missing(self) -> bool:
        """Return whether a value is missing: the next field, or the end of the message, is in its place."""
        if self._text() in _CLOSING.values():
            return True
        name = self._peek()
        if name is None or name.kind != "word" or not _NAME.fullmatch(name.text):
            return False
        new_line = "\n" in self.text[self.tokens[self.at - 1].end : name.start]
        return self._text(1) in (":", "=") or (new_line and self._text(1) in _CLOSING)

    def _plain_value(self, name: Token, path: FieldPath, colon: str) -> None:
        first = self.tokens[self.at]
        words = {"=": "has = instead of a colon", "": "needs a colon between name and value"}.get(colon, "")
        self._skip_value(first, path)
        end = self.tokens[self.at - 1].end
        self._separator()
        rest = self._rest_of_line(end)
        if rest:
            end = rest[-1].end
        words = words or self._bad_text(first, end)
        if words or rest or first.text in ("-", "("):
            self.faults.append(Fault(path, name.start, end, words, self.text[first.start : end]))

    def _skip_value(self, first: Token, path: FieldPath) -> None:
        """Skip a value: a word, one or more strings, or a list in brackets or parentheses."""
        if first.text in _QUOTES:
            raise _Fatal(first.start, self._no_name(first))
        if first.kind == "string":
            while (token := self._peek()) is not None and token.kind == "string":
                self.at += 1
            return
        closing = {"[": "]", "(": ")"}.get(first.text)
        self.at += 1
        if closing is not None:
            while self._text() != closing:
                if (token := self._peek()) is None or token.text in (":", "=", *_CLOSING, *_CLOSING.values()):
                    raise _Fatal(first.start, f"the list that starts here has no closing {closing}", path)
                self.at += 1
            self.at += 1
        elif first.kind == "mark":
            raise _Fatal(first.start, f"has {first.text} instead of a value", path)
        elif first.text == "-" and (token := self._peek()) is not None and token.kind == "word":
            self.at += 1

    def _rest_of_line(self, end: int) -> list[Token]:
        """Skip the tokens between a value and the next field on its line, and return them."""
        rest: list[Token] = []
        while (token := self._peek()) is not None:
            if "\n" in self.text[end : token.start] or token.text in _CLOSING.values():
                break
            known = self.kind_of((*self._outer, token.text)) is not None
            if self._begins_field() and (known or self._text(1) in (":", "=", *_CLOSING)):
                break
            if token.text in _QUOTES:
                raise _Fatal(token.start, self._no_name(token))
            rest.append(token)
            self.at += 1
        return rest

    def _bad_text(self, first: Token, end: int) -> str:
        """Return the problem of a string with invalid escape sequences; empty if there is none."""
        if first.kind != "string":
            return ""
        value = self.text[first.start : end]
        try:
            content = b"".join(text_encoding.CUnescape(piece.text[1:-1]) for piece in tokens_of(value))
        except ValueError:
            return f"{value} has an unknown escape sequence; write a backslash as two backslashes"
        try:
            content.decode()
        except UnicodeDecodeError:
            return f"{value} is not UTF-8 after its escape sequences are decoded"
        return ""
