"""docs/how-to/sizing.md and gitops.md: the size of the CustomResourceDefinition is that of the file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
DEFINITION = (ROOT / "crds" / "maskrcnn.dev_maskrcnnexperiments.yaml").read_text(encoding="utf-8")
NEAREST = 10
"""Pages round to so many kB, so that an edited description seldom changes them."""


def kilobytes_on(page: str, pattern: str) -> tuple[int, ...]:
    """Return the numbers that a pattern finds on a how-to page."""
    text = " ".join((ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8").split())
    [found] = re.findall(pattern, text)
    return tuple(map(int, (found,) if isinstance(found, str) else found))


def rounded(text: str) -> int:
    """Return the size of a text in kB, as pages have it."""
    return round(len(text.encode()) / 1000 / NEAREST) * NEAREST


def compact_json() -> str:
    """Return the definition as the API server stores it."""
    return json.dumps(yaml.safe_load(DEFINITION), separators=(",", ":"))


def test_sizes_of_the_definition_are_those_of_its_file() -> None:
    shown = kilobytes_on("sizing.md", r"CustomResourceDefinition takes about (\d+) kB as YAML, and (\d+) kB as JSON")
    assert shown == (rounded(DEFINITION), rounded(compact_json()))


def test_copy_in_an_annotation_has_the_size_of_the_json() -> None:
    shown = kilobytes_on("gitops.md", r"leaves a copy of the CustomResourceDefinition \(about (\d+) kB\) out")
    assert shown == (rounded(compact_json()),)
