"""HTML elements as text, in which every string from outside is escaped.

A :class:`Markup` is HTML already and is inserted as it is; any other string is text. Formatting a Markup gives a plain
string again, so a mistake shows as escaped HTML on the page, and never inserts HTML from outside.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})

JOINERS = "\u200c\u200d"
"""Invisible characters that change how neighbors are written in Persian or in emoji, and nothing else."""

PICTURE = re.compile(r"data:image/(?:png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}", re.ASCII)
ANCHOR = re.compile(r"#[A-Za-z][A-Za-z0-9-]*", re.ASCII)


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def element(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """Return an HTML or SVG element.

    Args:
        name: of the element.
        children: Markup is inserted as it is, other text is escaped, and None is left out.
        attributes: by name; ``class_`` is ``class``, other underscores are hyphens, and None is left out.

    Raises:
        ValueError: an address that leads out of the page, or an attribute that runs a script.
    """
    shown = []
    for key, value in attributes.items():
        if value is None:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        _check(attribute, str(value))
        shown.append(f' {attribute}="{escaped(str(value))}"')
    opening = f"<{name}{''.join(shown)}>"
    return Markup(opening if name in VOID else f"{opening}{joined(children)}</{name}>")


def joined(parts: Iterable[str | None]) -> Markup:
    """Return the parts one after the other, each escaped unless it is Markup."""
    return Markup("".join(part if isinstance(part, Markup) else escaped(part) for part in parts if part is not None))


def escaped(text: str) -> Markup:
    """Return a text as HTML that shows it literally, in an element or in a quoted attribute."""
    return Markup(html.escape(visible(text)))


def visible(text: str) -> str:
    r"""Return a text on one line, with invisible characters spelled as in Python (a line feed as ``\n``).

    Control characters and lone surrogates are invalid in HTML, and marks of direction change the order in which the
    rest of a line is shown.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") and character not in JOINERS:
        return character.encode("unicode_escape").decode("ascii")
    return character


def shortened(text: str, characters: int) -> str:
    """Return a text of at most ``characters`` characters, whose end is an ellipsis if it was longer."""
    return text if len(text) <= characters else text[: max(characters - 1, 0)] + "…"


def is_picture(address: str | None) -> bool:
    """Return whether an address is a picture within the page: a PNG, JPEG, or WebP as a ``data:`` URL."""
    return address is not None and PICTURE.fullmatch(address) is not None


def _check(attribute: str, value: str) -> None:
    if attribute.startswith("on"):
        raise ValueError(f"attribute {attribute}: the page runs no script")
    if attribute == "src" and not is_picture(value):
        raise ValueError(f"attribute {attribute}: {value[:40]!r} isn't a picture as a data: URL")
    if attribute == "href" and ANCHOR.fullmatch(value) is None:
        raise ValueError(f"attribute {attribute}: {value[:40]!r} isn't an anchor of the page")
