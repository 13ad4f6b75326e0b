"""Pages in the root of the repository link to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(text: str, folder: Path) -> list[str]:
    """Return the relative links in a text without a file, or without the heading that they name."""
    found = []
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        file = folder / path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    assert broken((ROOT / page).read_text(encoding="utf-8"), ROOT) == []


def test_link_without_file_or_heading_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Two words\n")
    assert broken("[a](page.md#two-words) [b](page.md#one) [c](none.md)", tmp_path) == ["page.md#one", "none.md"]
