"""Sections, tables, figures, and notes of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from maskrcnn_trainer.report.page.markup import Markup, element, joined, shortened

LONGEST_VALUE = 400
"""Characters of a text from outside that are shown; the whole text is in report.json."""

WORD_START = re.compile(r"(?<=[.\]])|(?<=[a-z0-9])(?=[A-Z])")
"""Places between the words of a field's path, such as ``maskrcnnConfig.anchorScale``."""

LONGEST_TABLE, FIRST_ROWS = 25, 15


@dataclass(frozen=True)
class Nesting:
    """Position of an experiment's sections in the page.

    Attributes:
        prefix: of the ids of its sections, so that they differ between experiments.
        level: of the sections' headings, 2 or 3.
    """

    prefix: str = ""
    level: int = 2

    def anchor(self, name: str) -> str:
        """Return the id of a section."""
        return f"{self.prefix}{name}"

    def link(self, name: str, content: str) -> Markup:
        """Return a link to a section."""
        return element("a", content, href=f"#{self.anchor(name)}")


@dataclass(frozen=True)
class Section:
    """Section of the page.

    Attributes:
        name: id without prefix.
        title: heading.
        content: after the heading.
    """

    name: str
    title: str
    content: Markup

    def drawn(self, place: Nesting) -> Markup:
        """Return the section with its heading."""
        heading = element(f"h{place.level}", self.title)
        return element("section", heading, self.content, id=place.anchor(self.name))


def paragraph(*parts: str | None, class_: str | None = None) -> Markup:
    """Return a paragraph."""
    return element("p", *parts, class_=class_)


def note(*parts: str | None) -> Markup:
    """Return a paragraph in small letters: how something was counted, or what isn't recorded."""
    return paragraph(*parts, class_="note")


def heading(place: Nesting, content: str) -> Markup:
    """Return the heading of a part of a section."""
    return element(f"h{place.level + 1}", content)


def named(name: str) -> Markup:
    """Return a name from outside within a sentence, isolated from the direction of the text around it."""
    return element("bdi", shortened(name, 80))


def value(content: str) -> Markup:
    """Return a text from outside in a cell, with at most LONGEST_VALUE characters; Markup as it is."""
    return content if isinstance(content, Markup) else element("bdi", shortened(content, LONGEST_VALUE))


def path(content: str) -> Markup:
    """Return the last two parts of a path, broken after the slash if need be; a pointer on them shows the whole."""
    ends = content.rstrip("/").split("/")[-2:]
    parts = [part for name in ends for part in ("/", element("wbr"), shortened(name, LONGEST_VALUE))]
    return element("bdi", *parts[2:], class_="path", title=shortened(content, LONGEST_VALUE))


def field_name(content: str) -> Markup:
    """Return the path of a field, which is broken between its words alone: after a dot, and before a capital letter."""
    words = WORD_START.split(shortened(content, LONGEST_VALUE))
    parts = [part for word in words for part in (element("wbr"), word)]
    return element("code", *parts[1:], class_="field")


def figure(title: str, content: Markup, *caption: str | None, wide: bool = False) -> Markup:
    """Return a chart with its title above and a caption below."""
    below = element("figcaption", *caption) if caption else None
    return element("figure", element("b", title), content, below, class_="wide" if wide else None)


def grid(*figures: Markup | None) -> Markup:
    """Return figures next to each other, as many as the width has room for."""
    return element("div", *figures, class_="grid")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, label: str, texts: int = 1) -> Markup:
    """Return a table that scrolls sideways where the screen is narrower.

    Args:
        headers: of the columns.
        rows: cells; Markup is inserted as it is.
        label: content of the table in a few words, for screen readers.
        texts: number of columns from the left that are texts; the others are numbers, at the right of their cells.
    """
    head = element("tr", *(
        element("th", value(name), scope="col", class_="text" if column < texts else None)
        for column, name in enumerate(headers)
    ))  # fmt: skip
    body = (element("tr", *(_cell(cell, number, texts) for number, cell in enumerate(row))) for row in rows)
    content = element("table", element("thead", head), element("tbody", *body))
    return element("div", content, class_="scroll", role="region", aria_label=label, tabindex="0")


def long_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, label: str, texts: int = 1) -> Markup:
    """Return a table whose rows after the first FIRST_ROWS are in a part that opens, if there are many more."""
    if len(rows) <= LONGEST_TABLE:
        return table(headers, rows, label=label, texts=texts)
    first = table(headers, rows[:FIRST_ROWS], label=label, texts=texts)
    others = table(headers, rows[FIRST_ROWS:], label=f"{label}, other rows", texts=texts)
    return joined([first, element("details", element("summary", "all other rows"), others, class_="more")])


def bar_cell(content: str, share: float) -> Markup:
    """Return the content of a cell with a bar behind it that fills a share (0..1) of the cell."""
    return element("span", content, class_="bar", style=f"--v:{min(max(share, 0.0), 1.0):.1%}")


def listed(items: Sequence[str]) -> Markup:
    """Return a list of sentences."""
    return element("ul", *(element("li", item) for item in items))


def sentence(parts: Sequence[str]) -> Markup:
    """Return parts as an enumeration: a, b, and c."""
    if len(parts) <= 2:
        return joined([part for index, part in enumerate(parts) for part in ([" and ", part] if index else [part])])
    return joined([part for index, part in enumerate(parts) for part in _separated(index, len(parts), part)])


def _separated(index: int, length: int, part: str) -> list[str]:
    return [part] if not index else [", and " if index == length - 1 else ", ", part]


def _cell(content: str, column: int, texts: int) -> Markup:
    if column == 0:
        return element("th", value(content), scope="row")
    return element("td", value(content), class_="text" if column < texts else None)
