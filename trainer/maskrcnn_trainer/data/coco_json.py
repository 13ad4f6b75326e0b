"""Reading a file of COCO JSON as an object. :mod:`maskrcnn_trainer.data.coco` checks its content."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from maskrcnn_trainer.errors import InvalidInput
from maskrcnn_trainer.shared.files import decoding_fault, read_text
from maskrcnn_trainer.shared.text import shown

_SECTION = re.compile(r'"(images|annotations|categories)"\s*:')


def read_json(name: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        InvalidInput: the file cannot be read, is not UTF-8 JSON, holds something else than an object, or has a section
            more than once.
    """
    text = ""
    try:
        text = read_text(Path(name))
        content = json.loads(text)
        _refuse_repeated_sections(name, text)
    except OSError as error:
        raise InvalidInput(f"{name}: cannot be read: {error.strerror}", reason="InvalidData") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} {decoding_fault(error)}", reason="InvalidData") from error
    except json.JSONDecodeError as error:
        if "\0" in text[:4]:
            raise InvalidInput(f"{name} is UTF-16 or UTF-32 text; save it as UTF-8", reason="InvalidData") from error
        raise InvalidInput(
            f"{name}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}", reason="InvalidData"
        ) from error
    except RecursionError as error:
        raise InvalidInput(f"{name}: {_fault_of_depth(text)}", reason="InvalidData") from error
    except ValueError as error:
        raise InvalidInput(f"{name}: {_fault_of_number(text)}", reason="InvalidData") from error
    if not isinstance(content, dict):
        raise InvalidInput(
            f"{name}: holds {shown(content)}: an object with images, annotations, and categories is expected "
            "(a list is the format of results, not of annotations)",
            reason="InvalidData",
        )
    return content


_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{\]}]|\d[\d.eE+-]*', re.DOTALL)
_MAX_DEPTH = 100
"""Largest depth of arrays and objects; COCO has 5 levels, and Python's parser fails at about 1,000."""


def _fault_of_depth(text: str) -> str:
    """Return the fault of a text that is nested too deeply for Python's parser, with its line."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
        if depth > _MAX_DEPTH:
            return (
                f"line {_line(text, token)}: arrays or objects are nested more than {_MAX_DEPTH} deep; a closing "
                "bracket is probably missing before it"
            )
    return "arrays or objects are nested too deeply"


def _fault_of_number(text: str) -> str:
    """Return the fault of a text that has a whole number with more digits than Python reads, with its line."""
    most = sys.get_int_max_str_digits()
    for token in _TOKEN.finditer(text):
        if len(token[0]) > most and token[0].isdecimal():
            return f"line {_line(text, token)}: a number has {len(token[0]):,} digits; those of COCO have at most 19"
    return "a number has too many digits"


def _line(text: str, token: re.Match[str]) -> int:
    return text.count("\n", 0, token.start()) + 1


def _refuse_repeated_sections(name: str, text: str) -> None:
    """Refuse a file that has a section twice, since Python's parser silently keeps the last one.

    The text is parsed again, with a call for each object, only if a section's name occurs more than once.
    """
    counts = Counter(_SECTION.findall(text))
    if max(counts.values(), default=0) < 2:
        return
    twice: list[str] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = Counter(key for key, _ in pairs)
        # the outermost object comes last
        twice[:] = [key for key, count in found.items() if count > 1 and key in counts]
        return dict(pairs)

    json.loads(text, object_pairs_hook=keep)
    if twice:
        raise InvalidInput(f"{name}: has {' and '.join(twice)} more than once; keep one of each", reason="InvalidData")
