"""Names that pyproject.toml bans from decisions: ruff finds each of them in a copy."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFIGURED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
BANNED = sorted(CONFIGURED["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"])


def folders_of_decisions() -> list[str]:
    """Return the folders of the packages in the contract ``decisions-without-io``."""
    contracts = {contract["id"]: contract for contract in CONFIGURED["importlinter"]["contracts"]}
    packages = contracts["decisions-without-io"]["source_modules"]
    roots = {"maskrcnn_operator": "operator", "maskrcnn_trainer": "trainer"}
    return [f"{roots[package.split('.')[0]]}/{package.replace('.', '/')}" for package in packages]


def names_found_in(root: Path, folder: str) -> set[str]:
    """Return the banned names that ruff finds in a module of ``folder`` that uses all of them."""
    submodules = {"logging.config", "logging.handlers"}
    modules = {name if name in submodules else name.split(".")[0] for name in BANNED}
    module = root / folder / "newcomer.py"
    module.parent.mkdir(parents=True)
    lines = [*(f"import {name}" for name in sorted(modules)), f"USED = [{', '.join(BANNED)}]"]
    module.write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(ROOT / "pyproject.toml", root)
    done = subprocess.run(
        [Path(sys.executable).with_name("ruff"), "check", "--no-cache", "--output-format", "concise", module],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return {line.split("`")[1] for line in done.stdout.splitlines() if " TID251 " in line}


@pytest.mark.parametrize("folder", folders_of_decisions())
def test_banned_names_are_found_in_decisions(tmp_path: Path, folder: str) -> None:
    assert names_found_in(tmp_path, folder) == set(BANNED)


@pytest.mark.parametrize("folder", ["operator/maskrcnn_operator/cluster", "trainer/maskrcnn_trainer/task"])
def test_names_banned_from_decisions_are_allowed_elsewhere(tmp_path: Path, folder: str) -> None:
    assert names_found_in(tmp_path, folder) == set()
