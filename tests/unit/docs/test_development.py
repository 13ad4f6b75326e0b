"""The pages for developers name files that exist, and all packages."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

import pytest

from maskrcnn_operator.cli import build_parser

ROOT = Path(__file__).resolve().parents[3]
DEVELOPMENT = (ROOT / "docs" / "contributing" / "development.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
WALKS = "Four walks through the code"
PACKAGES = ("operator/maskrcnn_operator", "trainer/maskrcnn_trainer")


def section(page: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def paths(text: str) -> list[str]:
    """Return the paths in a text, those in braces one by one."""
    found = []
    for path in re.findall(r"`([\w.-]+/[\w./{},-]*)`", text):
        start, _, rest = path.partition("{")
        names, _, end = rest.partition("}")
        found += [f"{start}{name}{end}" for name in names.split(",")]
    return found


def walks() -> dict[str, list[str]]:
    """Return the files of each walk by its heading."""
    parts = re.split(r"^\*\*(.+)\*\*$", section(ARCHITECTURE, WALKS), flags=re.MULTILINE)[1:]
    return {
        title: re.findall(r"^\d+\. `(.+?)`", text, re.MULTILINE)
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_places_to_look_in_are_there() -> None:
    named = paths(section(DEVELOPMENT, "Where things are"))
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("walk", walks())
def test_files_of_a_walk_are_there(walk: str) -> None:
    files = walks()[walk]
    assert [file for file in files if not any((ROOT / package / file).is_file() for package in PACKAGES)] == []


def test_table_of_walks_has_the_length_of_each_list() -> None:
    counted = re.findall(r"^\| .+? \| \d+ \| (\d+) \|", section(ARCHITECTURE, WALKS), re.MULTILINE)
    assert [int(count) for count in counted] == [len(files) for files in walks().values()]


def test_architecture_names_each_command_of_the_operator() -> None:
    [commands] = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
    [row] = re.findall(r"^\| `cli` \| (.+?) \|", section(ARCHITECTURE, "Operator"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(commands.choices)


@pytest.mark.parametrize("package", PACKAGES)
def test_architecture_names_each_package_and_no_other(package: str) -> None:
    title = "Operator" if package.startswith("operator") else "Trainer"
    below = (ROOT / package).iterdir()
    packages = {path.name for path in below if path.is_dir() and (path / "__init__.py").is_file()}
    modules = {"cli", "errors", "spelling"} & {path.stem for path in (ROOT / package).glob("*.py")}
    listed = re.findall(r"^\| (`.+?) \|", section(ARCHITECTURE, title), re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"`(\w+)`", cell)} == packages | modules


def test_architecture_names_each_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = [contract["id"] for contract in project["tool"]["importlinter"]["contracts"]]
    listed = re.findall(r"^\| `([a-z-]+)` \|", section(ARCHITECTURE, "Import contracts"), re.MULTILINE)
    assert listed == contracts
