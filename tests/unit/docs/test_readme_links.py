"""Links of README.md and CONTRIBUTING.md lead to files and headings that exist; make docs checks those of the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.monitoring import vocabulary

ROOT = Path(__file__).resolve().parents[3]
NOT_PAGES_OF_THE_SITE = [
    path
    for folder in (".", "images", "benchmarks", "charts/maskrcnn-operator", "examples/seed")
    for path in sorted((ROOT / folder).glob("*.md"))
]


@pytest.mark.parametrize("page", NOT_PAGES_OF_THE_SITE, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    lost = []
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        found = target.exists() and (not anchor or anchor in vocabulary.anchors(target))
        lost += [] if found else [link]
    assert lost == []


def test_links_to_the_site_use_pages_that_exist() -> None:
    texts = [page.read_text(encoding="utf-8") for page in NOT_PAGES_OF_THE_SITE]
    named = {path for text in texts for path in re.findall(r"`(docs/[\w/-]+\.md)`", text)}
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
