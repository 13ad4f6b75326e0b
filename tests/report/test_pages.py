"""Pages of reports in headless Chromium (``make test-report``)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.report.browser import (
    THEMES,
    WIDTHS,
    Look,
    NoBrowser,
    Session,
    browser,
    evaluated,
    find_browser,
    looked_at,
    printed,
    resize,
    sample_contents,
    write_pages,
)

Value = TypeVar("Value")
NAMES = tuple(sample_contents())
PAGE_OF_A_PDF = re.compile(rb"/Type\s*/Page\b")
FAULTY = """<!doctype html><html><body><nav><a href="#here">There</a><a href="#gone">Gone</a></nav>
<section id="here"><h2>Here</h2></section><div style="width:1500px">wide</div><script>console.log("a message")</script>
<img src="data:image/png;base64,AAAA"><img src="https://pages.invalid/picture.png"></body></html>"""


class Tab:
    """A tab of a browser for tests, which aren't coroutines."""

    def __init__(self, runner: asyncio.Runner, session: Session) -> None:
        self._runner = runner
        self._session = session

    def look(self, file: Path, width: int, theme: str) -> Look:
        """Open a page, and return what is wrong with it."""
        return self._run(looked_at(self._session, file, width, theme))

    def resize(self, width: int, height: int) -> None:
        """Change the size of the screen in pixels."""
        self._run(resize(self._session, width, height))

    def value(self, expression: str) -> Any:
        """Return the value of an expression in the open page."""
        return self._run(evaluated(self._session, expression))

    def pdf(self, file: Path) -> bytes:
        """Return a page as it is printed."""
        return self._run(printed(self._session, file))

    def _run(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self._runner.run(work)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    """Yield a tab; skip the test where there is no Chromium, and none can be installed."""
    try:
        find_browser()
    except NoBrowser as error:
        pytest.skip(str(error))
    with asyncio.Runner() as runner:
        running = browser()
        session = runner.run(running.__aenter__())
        try:
            yield Tab(runner, session)
        finally:
            runner.run(running.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages of the sample contents by name."""
    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_page_is_read_without_a_request_a_message_or_scrolling_sideways_and_its_links_are_right(
    tab: Tab, pages: dict[str, Path], name: str, width: int, theme: str
) -> None:
    assert tab.look(pages[name], width, theme).problems == ()


@pytest.mark.parametrize("name", NAMES)
def test_theme_of_the_page_is_that_of_the_screen(tab: Tab, pages: dict[str, Path], name: str) -> None:
    light, dark = (tab.look(pages[name], WIDTHS[0], theme).background for theme in THEMES)
    assert light == "rgb(255, 255, 255)"
    assert dark != light


def test_link_of_the_contents_brings_its_section_into_view(tab: Tab, pages: dict[str, Path]) -> None:
    tab.look(pages["full"], WIDTHS[0], THEMES[0])
    tab.resize(WIDTHS[0], 900)
    for anchor in tab.value("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href').slice(1))"):
        tab.value(f"document.querySelector('nav a[href=\"#{anchor}\"]').click()")
        place = tab.value(f"document.getElementById('{anchor}').getBoundingClientRect().top")
        assert -1 < place < tab.value("innerHeight"), anchor  # positions are fractions of a pixel


def test_long_table_opens_without_a_script(tab: Tab, pages: dict[str, Path]) -> None:
    before = tab.look(pages["80-classes"], WIDTHS[1], THEMES[0]).height
    tab.value("document.querySelectorAll('details.more > summary').forEach(summary => summary.click())")
    assert tab.value("document.documentElement.scrollHeight") > before + 1000


@pytest.mark.parametrize("name", NAMES)
def test_page_is_printed_as_pdf(tab: Tab, pages: dict[str, Path], name: str) -> None:
    document = tab.pdf(pages[name])
    assert document.startswith(b"%PDF-")
    assert len(PAGE_OF_A_PDF.findall(document)) >= (1 if name == "not-recorded" else 4)


def test_print_shows_the_parts_that_are_closed_on_the_screen(tab: Tab, pages: dict[str, Path]) -> None:
    tab.pdf(pages["80-classes"])
    rows = "[...document.querySelectorAll('details.more tr')].filter(row => row.getBoundingClientRect().height > 5)"
    assert tab.value(f"{rows}.length") > 80


def test_faults_of_a_page_are_found(tab: Tab, tmp_path: Path) -> None:
    file = tmp_path / "faulty.html"
    file.write_text(FAULTY, encoding="utf-8")
    found = " ".join(tab.look(file, WIDTHS[0], THEMES[0]).problems)
    for fault in (
        "#gone leads nowhere", "#here leads to another section", "pixels wider than the screen", "can't be decoded",
        "a request: https://pages.invalid", "a message",
    ):  # fmt: skip
        assert fault in found
