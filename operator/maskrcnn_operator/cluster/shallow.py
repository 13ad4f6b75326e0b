"""Removal of JSON values that are nested too deeply for a recursive parser."""

from __future__ import annotations

import re

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_OPENING = b"[{"


def without_deep_values(text: bytes, levels: int) -> bytes:
    """Return a JSON text in which null replaces every object and list below ``levels`` others, without recursion.

    For a text that isn't JSON, the result isn't JSON either.
    """
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        sign = text[token.start() : token.start() + 1]
        if sign == b'"':
            continue
        if sign in _OPENING:
            depth += 1
            if depth == levels + 1:
                kept += (text[begin : token.start()], b"null")
        else:
            if depth == levels + 1:
                begin = token.end()
            depth -= 1
    if depth > levels:
        # the text ends within a value that was left out
        return b""
    return b"".join((*kept, text[begin:]))
