"""Reading of a page as a browser does: what it loads, where its links lead, and whether its elements fit together."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})
LOADING = frozenset({"script", "link", "iframe", "object", "embed", "base", "form", "image", "use", "foreignobject"})
"""Elements that load or run something, or take a reader elsewhere."""

ADDRESSES = frozenset({"src", "href", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href"})
IN_STYLES = re.compile(r"url\s*\(|@import|expression\s*\(|image-set|\\", re.IGNORECASE)
PICTURE = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/=]+")


class PageReader(HTMLParser):
    """Elements, texts, and addresses of a page.

    Attributes:
        tags: number of elements by name.
        ids: of all elements, in their order.
        links: targets of ``a`` elements.
        texts: text of each element that has one, with its path of tags such as ``html/body/main/section/p``.
        problems: what a page must not have, one sentence each.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.problems: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag in LOADING:
            self.problems.append(f"element {tag}")
        for name, value in attrs:
            self.attributes[name] += 1
            self._check(tag, name, value or "")
        if tag not in VOID:
            self._open.append(tag)

    def _check(self, tag: str, name: str, value: str) -> None:
        if name == "id":
            self.ids.append(value)
        if tag == "a" and name == "href":
            self.links.append(value)
        elif name in ADDRESSES and not PICTURE.fullmatch(value):
            self.problems.append(f"{tag} {name}={value[:60]!r}")
        if name == "href" and not value.startswith("#"):
            self.problems.append(f"link out of the page: {value[:60]!r}")
        if name.startswith("on"):
            self.problems.append(f"{tag} runs a script at {name}")
        if name == "style" and IN_STYLES.search(value):
            self.problems.append(f"style that loads: {value[:60]!r}")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip() or data == " ":
            self.texts.append(("/".join(self._open), data))
        if "style" in self._open and IN_STYLES.search(data):
            self.problems.append("style sheet that loads")

    def handle_comment(self, data: str) -> None:
        self.problems.append(f"comment: {data[:60]!r}")


def read(text: str) -> PageReader:
    """Return what is in a page; ``problems`` also has duplicate ids, dead links, and elements that aren't closed."""
    reader = PageReader()
    reader.feed(text)
    reader.close()
    reader.problems += [f"id {name} twice" for name, number in Counter(reader.ids).items() if number > 1]
    reader.problems += [f"dead link {link}" for link in reader.links if link.removeprefix("#") not in reader.ids]
    reader.problems += [f"{tag} isn't closed" for tag in reader._open]
    return reader


def words(text: str) -> str:
    """Return the visible text of a page with single spaces, without its style sheet."""
    found = [content for path, content in read(text).texts if "style" not in path.split("/")]
    return " ".join("".join(found).split())
