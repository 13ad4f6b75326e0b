"""Reference of the detectors' styles: it is up to date, and the site gives its table the width that it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts.styles_page import PAGE, main, page

from maskrcnn_trainer.weights.style import StyleName

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_committed_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make manifests`"
    assert main(["--check", str(PAGE)]) == 0


def test_stale_page_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("scripts.styles_page.page", lambda: "another")
    assert main(["--check", str(PAGE)]) == 1
    assert "make manifests" in capsys.readouterr().err


def test_page_has_a_column_for_each_style() -> None:
    [head] = [line for line in page().splitlines() if line.startswith("| | `")]
    assert re.findall(r"`([^`]+)`", head) == list(StyleName)


def test_wide_table_is_the_one_that_the_style_sheet_names() -> None:
    anchor = page().partition("\n")[0].removeprefix("# ").lower().replace(" ", "-")
    sheet = (DOCS / "_static" / "wide-tables.css").read_text(encoding="utf-8")
    assert set(re.findall(r"#([a-z][a-z-]+)", sheet)) == {anchor}
    assert 'html_css_files = ["wide-tables.css"]' in (DOCS / "conf.py").read_text(encoding="utf-8")
