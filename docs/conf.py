"""Settings of Sphinx for this site: ``make docs``.

Links to files of the repository outside docs/ become links to their source: below ``DOCS_SOURCE_URL`` (such as
https://HOST/OWNER/REPOSITORY/blob/TAG) if that variable is set, else relative to the built page. A file that doesn't
exist is a warning, which ``make docs`` turns into an error.
"""

from __future__ import annotations

import os
import posixpath
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "source:"
OUTPUT_DEPTH = 2
"""Folders between the repository's root and the site: dist/docs."""

project = "maskrcnn-operator"
author = copyright = "The maskrcnn-operator authors"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["gitops/**"]  # files to copy, which have no pages
html_theme = "furo"
html_title = f"maskrcnn-operator {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["wide-tables.css"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "source": {"url": SOURCE + "{{path}}"}}
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"

_LINK = re.compile(r"(?<!!)(\[[^\]]*\]\()(\.\.?/[^)\s#]*)((?:#[^)\s]*)?\))")
_log = logging.getLogger(__name__)


def _link_to_source(_: Sphinx, page: str, content: list[str]) -> None:
    """Replace links that leave docs/, and links to files without a page, by links to the source."""

    def replaced(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link[2]))
        if path.startswith("docs/") and path.endswith(".md"):
            return link[0]
        if path.startswith("..") or not (ROOT / path).exists():
            _log.warning("no such file: %s", link[2], location=page, type="myst", subtype="xref_missing")
        return f"{link[1]}{SOURCE}{path}{link[3]}"

    content[0] = _LINK.sub(replaced, content[0])


def _resolve_source(_: Sphinx, tree: nodes.document, page: str) -> None:
    """Give links to the source their address."""
    base = os.environ.get("DOCS_SOURCE_URL", "").rstrip("/") or "/".join([".."] * (OUTPUT_DEPTH + page.count("/")))
    for link in tree.findall(nodes.reference):
        if link.get("refuri", "").startswith(SOURCE):
            link["refuri"] = f"{base}/{link['refuri'].removeprefix(SOURCE)}"


def setup(app: Sphinx) -> None:
    """Connect the handlers of links."""
    app.connect("source-read", _link_to_source)
    app.connect("doctree-resolved", _resolve_source)
