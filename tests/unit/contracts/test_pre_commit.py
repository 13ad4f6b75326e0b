"""The hooks of pre-commit run what ``make lint`` runs, with tools of .venv alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]


def hooks() -> list[dict[str, Any]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    return list(config["repos"][0]["hooks"])


def lint() -> list[str]:
    """Return the commands of ``make lint``, one for each target that it makes in turn."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv/bin")
    recipe = re.search(r"^lint: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe
    found = []
    for line in recipe[1].splitlines():
        made = re.fullmatch(r"\t@\$\(MAKE\) -s (.+)", line)
        found += [f"make -s {target}" for target in made[1].split()] if made else [line.strip()]
    return found


def test_each_hook_is_a_command_of_lint() -> None:
    assert [hook["entry"] for hook in hooks() if hook["entry"] not in lint()] == []


def test_commands_of_lint_are_hooks_but_the_import_contracts() -> None:
    assert set(lint()) - {hook["entry"] for hook in hooks()} == {".venv/bin/lint-imports"}


def test_hooks_fetch_nothing() -> None:
    assert {hook["language"] for hook in hooks()} == {"system"}
