"""Targets of the Makefile, compared with ``make help`` and the pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
OUTSIDE = {"kueue", "object_storage", "oracle", "report"}
"""Folders of tests that have a separate target and don't run in CI, apart from a smoke test."""
TIERS = {"unit": "unit", "trainer": "trainer", "apiserver": "API-server"}
"""Folders of tests that ``make test`` runs, with their names on the pages."""


def targets() -> set[str]:
    found = re.findall(r"^([^\s:=#.][^\s:=]*):(?!=)", MAKEFILE, re.MULTILINE)
    assert len(found) == len(set(found))
    return set(found)


def listed() -> dict[str, str]:
    """Return the description of each target in ``make help``."""
    done = subprocess.run(["/usr/bin/env", "make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^ +make (\S+) +(.+)$", done.stdout, re.MULTILINE))


def test_help_lists_every_target() -> None:
    assert {"e2e", "test", "help"} <= targets()
    assert set(listed()) == targets()


def test_every_target_is_phony() -> None:
    phony = " ".join(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE))
    assert sorted(phony.split()) == sorted(targets())


def test_targets_on_pages_exist() -> None:
    named = {
        (page.name, target)
        for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md")
        for target in re.findall(r"(?:`|^|&& |\()make (?:-s )?([a-z][\w-]*)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {target for _, target in named} >= {"test", "e2e", "help", "dev-cluster"}
    assert {(page, target) for page, target in named if target not in targets()} == set()


def test_make_test_runs_the_tiers_named_on_the_pages() -> None:
    script = (ROOT / "scripts" / "test.sh").read_text(encoding="utf-8")
    assert set(re.findall(r"^\s*tier (\w+)", script, re.MULTILINE)) == set(TIERS)
    [of_readme] = re.findall(r"^make test +# (.+)$", README, re.MULTILINE)
    for text in (of_readme, listed()["test"]):
        assert "all tests" not in text
        assert all(name in text.partition(";")[0] for name in TIERS.values()), text
        assert "make e2e" in text


def test_make_e2e_runs_the_other_tests() -> None:
    script = (ROOT / "scripts" / "e2e.sh").read_text(encoding="utf-8")
    run = set(re.findall(r"\btests/(\w+)(?=[ \n])", script))
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders - set(TIERS) - OUTSIDE == run
